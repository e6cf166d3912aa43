//! The roots that are trusted besides those that come with certificates: those of the CA's root file, which somebody else
//! keeps up to date, and those that the mesh configuration names.

use std::io;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::cache::Certificates;
use crate::tls::pem;

/// How often the file is read. The kubelet itself takes up to a minute to write a changed ConfigMap.
const FILE_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps what is trusted up to date with what `read_file` reads from the CA's root file (PEM, one certificate each) and
/// with `named` (PEM texts). Runs forever. While the file cannot be read, its last content counts.
pub async fn update(
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
            () = sleep(FILE_INTERVAL) => {}
            changed = named.changed() => if changed.is_err() {
                sleep(FILE_INTERVAL).await;
            },
        }
    }
}
