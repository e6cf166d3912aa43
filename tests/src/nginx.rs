//! A real nginx in a place, with a folder of its own and one page.

use std::fs;

use anyhow::Result;

use crate::place::Place;
use crate::program::Program;
use crate::run::Run;

/// The port it serves on, over IPv4 and IPv6.
pub const PORT: u16 = 8080;
/// A port that nothing else in a pod of the HTTP mesh serves on.
pub const PORT_IN_MESH: u16 = 9105;

/// Starts nginx with a page at `/` and waits until it listens.
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
    let folder = run.folder().join(format!("nginx-{}", place.name()));
    fs::create_dir_all(folder.join("pages"))?;
    fs::write(folder.join("pages/index.html"), page)?;
    fs::write(folder.join("nginx.conf"), configuration(port))?;
    let prefix = folder.display().to_string();
    let mut program =
        place.spawn(&["nginx", "-p", &prefix, "-e", "error.log", "-c", "nginx.conf", "-g", "daemon off;"])?;
    program.listens_on(port)?;
    Ok(program)
}

/// Nothing of the machine's own nginx is read or written: paths are relative to the prefix.
fn configuration(port: u16) -> String {
    format!(
        "user root;\nworker_processes 1;\npid nginx.pid;\nevents {{ worker_connections 4096; }}\nhttp {{\n  \
         access_log access.log;\n  client_body_temp_path body;\n  proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  \
         uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  keepalive_requests 1000000;\n  \
         server {{ listen {port}; listen [::]:{port}; root pages; }}\n}}\n"
    )
}
