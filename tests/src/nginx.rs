//! A real nginx in a place, with a folder of its own and one page.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::certificates::CertificateFiles;
use crate::place::Place;
use crate::program::Program;
use crate::run::Run;

/// The port it serves on, over IPv4 and IPv6.
pub const PORT: u16 = 8080;
/// A port that nothing else in a pod of the HTTP mesh serves on.
pub const PORT_IN_MESH: u16 = 9105;
/// The port of a server with TLS.
pub const TLS_PORT: u16 = 8443;

/// Starts nginx with a page at `/`, and one at `/admin/x` that says `REACHED`, and waits until it listens.
///
/// # Errors
/// If it does not start.
pub fn serve(place: &Place, run: &Run, page: &str) -> Result<Program> {
    serve_at(place, run, page, PORT)
}

/// As [`serve`], on another port.
///
/// # Errors
/// If it does not start.
pub fn serve_at(place: &Place, run: &Run, page: &str, port: u16) -> Result<Program> {
    start(place, run, &format!("listen {port}; listen [::]:{port}; root pages;"), page, port)
}

/// Starts nginx with TLS, over HTTP/1 and HTTP/2. It answers with what it was told of the client: server name, protocol, the
/// verdict on its certificate, method and path, separated by spaces. Clients must have a certificate below `clients`, if that is
/// given.
///
/// # Errors
/// If it does not start.
pub fn serve_tls(place: &Place, run: &Run, own: &CertificateFiles, clients: Option<&Path>) -> Result<Program> {
    let verify = clients.map(|ca| format!("ssl_client_certificate {}; ssl_verify_client on;", ca.display()));
    let server = format!(
        "listen {TLS_PORT} ssl http2; ssl_certificate {}; ssl_certificate_key {}; {} location / {{ return 200 \"$ssl_server_name \
         $server_protocol $ssl_client_verify $request_method $uri\"; }}",
        own.chain.display(),
        own.key.display(),
        verify.unwrap_or_default()
    );
    start(place, run, &server, "", TLS_PORT)
}

/// Starts nginx so that it passes every request on to a server of the same place, as it came.
///
/// # Errors
/// If it does not start.
pub fn pass_on(place: &Place, run: &Run, port: u16, to: u16) -> Result<Program> {
    let server = format!(
        "listen {port}; location / {{ proxy_pass http://127.0.0.1:{to}; proxy_http_version 1.1; proxy_set_header Host $http_host; \
         proxy_set_header Connection \"\"; }}"
    );
    start(place, run, &server, "", port)
}

fn start(place: &Place, run: &Run, server: &str, page: &str, port: u16) -> Result<Program> {
    let folder = run.folder().join(format!("nginx-{}", place.name()));
    fs::create_dir_all(folder.join("pages"))?;
    fs::write(folder.join("pages/index.html"), page)?;
    fs::create_dir_all(folder.join("pages/admin"))?;
    fs::write(folder.join("pages/admin/x"), "REACHED")?;
    fs::write(folder.join("nginx.conf"), configuration(server))?;
    let prefix = folder.display().to_string();
    let mut program =
        place.spawn(&["nginx", "-p", &prefix, "-e", "error.log", "-c", "nginx.conf", "-g", "daemon off;"])?;
    program.listens_on(port)?;
    Ok(program)
}

/// Nothing of the machine's own nginx is read or written: paths are relative to the prefix.
fn configuration(server: &str) -> String {
    format!(
        "user root;\nworker_processes 1;\npid nginx.pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n  \
         access_log access.log;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  \
         uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  keepalive_requests 1000000;\n  \
         server {{ {server} }}\n}}\n"
    )
}
