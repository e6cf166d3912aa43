//! Programs of others that speak HTTP, as servers and clients in pods: Go's net/http, gRPC's interoperability programs, Node,
//! Python's `websockets` and gunicorn. What they do is in `tests/peers`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::run::Run;

/// The variable that names the folder of programs built from Go modules.
const VARIABLE: &str = "WEIR_PEERS";
/// Debian's own Python, which has `websockets`.
const PYTHON: &str = "/usr/bin/python3";

/// A program of Go: `web`, `grpc-interop-client`, `grpc-interop-server`, `h2spec`, and `extauthz`, Istio's sample of an external
/// authorizer.
///
/// # Errors
/// If it is not there; the error says how to get it.
pub fn go(name: &str) -> Result<String> {
    let cached = || {
        let user = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
        let user = user.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
        Some(user.join("weir/peers"))
    };
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from).or_else(cached).context("there is no home directory")?;
    let program = folder.join(name);
    ensure!(program.is_file(), "there is no {}: `cargo xtask setup` builds it", program.display());
    Ok(program.display().to_string())
}

/// The command that runs Node's server and client; arguments follow.
///
/// # Errors
/// If its file cannot be written.
pub fn node(run: &Run) -> Result<[String; 2]> {
    Ok(["node".to_owned(), written(run, "web.mjs", include_str!("../peers/web.mjs"))?])
}

/// The command that runs the server and client of WebSockets; arguments follow.
///
/// # Errors
/// If its file cannot be written.
pub fn websocket(run: &Run) -> Result<[String; 2]> {
    Ok([PYTHON.to_owned(), written(run, "websocket.py", include_str!("../peers/websocket.py"))?])
}

/// The command that runs a WSGI server, which prints what it understood of each whole request, on a port; its application is
/// written into this folder.
///
/// # Errors
/// If it cannot be written.
pub fn gunicorn(folder: &Path, port: u16) -> Result<Vec<String>> {
    fs::write(folder.join("told.py"), include_str!("../peers/told.py"))?;
    let (folder, port) = (folder.display().to_string(), format!("--bind=0.0.0.0:{port}"));
    let usual = [
        "-m",
        "gunicorn",
        "--worker-class=gthread",
        "--threads=8",
        "--keep-alive=60",
        &port,
        "--chdir",
        &folder,
        "told:told",
    ];
    Ok([PYTHON].iter().chain(&usual).map(|word| (*word).to_owned()).collect())
}

/// A file of the run with this text, where programs of all places find it.
fn written(run: &Run, name: &str, text: &str) -> Result<String> {
    let file = run.folder().join(name);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    Ok(file.display().to_string())
}
