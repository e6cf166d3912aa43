//! The mesh's trust bundle beside what comes with certificates: the CA's root file, which somebody else keeps up to date,
//! and roots that the mesh configuration names.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::Certificates;
use crate::tls::pem;

/// How soon a changed file is noticed. The kubelet itself takes up to a minute to bring a change of a ConfigMap.
const INTERVAL: Duration = Duration::from_secs(5);

/// Keeps what is trusted up to date with what `read_file` reads from the CA's root file (PEM, one certificate each) and
/// with `named` (PEM texts). Runs for ever. While the file cannot be read, what it said last counts.
pub async fn follow(
    certificates: Certificates,
    read_file: impl Fn() -> io::Result<Vec<String>> + Send,
    mut named: watch::Receiver<Vec<String>>,
) {
    let (mut of_file, mut trusted) = (Vec::new(), Vec::new());
    let mut last_error = None;
    loop {
        match read_file() {
            Ok(blocks) => (of_file, last_error) = (blocks, None),
            Err(error) => {
                let error = error.to_string();
                if last_error.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the CA's root certificates are not followed");
                }
                last_error = Some(error);
            }
        }
        let mut bundle: Vec<String> = of_file.clone();
        bundle.extend(named.borrow_and_update().iter().flat_map(|text| pem::certificate_blocks(text)));
        bundle.sort();
        bundle.dedup();
        if bundle != trusted {
            if !trusted.is_empty() {
                tracing::info!(roots = bundle.len(), "the trust bundle has changed");
            }
            certificates.trust(bundle.clone());
            trusted = bundle;
        }
        tokio::select! {
            () = sleep(INTERVAL) => {}
            changed = named.changed() => if changed.is_err() {
                sleep(INTERVAL).await;
            },
        }
    }
}
