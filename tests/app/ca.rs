//! A certificate authority that does what a test tells it: sign as it should, answer errors or nonsense, or say nothing.
//! It speaks istiod's `CreateCertificate` over TLS and signs with the mesh's own root: what is wrong is only what was asked for.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Bytes before each message of gRPC: whether it is compressed, and its length.
pub(crate) const GRPC_HEADER: usize = 5;
const DAY: Duration = Duration::from_secs(86_400);

/// Where it listens, what it proves itself with, and who it signs as.
#[derive(Debug, Args)]
pub(crate) struct Ca {
    address: SocketAddr,
    #[arg(long)]
    chain: PathBuf,
    #[arg(long)]
    key: PathBuf,
    /// Folder with the `ca-cert.pem` and `ca-key.pem` of the mesh.
    #[arg(long)]
    signer: PathBuf,
    /// File that says how to answer, read for every request: one [`Answer`] in words. `by-account` answers each identity
    /// as its service account is called.
    #[arg(long)]
    answers: PathBuf,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// A certificate that lives as long.
    Good(Duration),
    /// A gRPC error.
    Error,
    /// Nothing, ever.
    Hang,
    /// A chain that is no PEM.
    Garbage,
    /// No certificate at all.
    Empty,
    /// A certificate for another identity.
    WrongName,
    /// A certificate for another key than the one in the request.
    WrongKey,
    /// A certificate that has expired.
    Expired,
}

impl FromStr for Answer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text.trim() {
            "error" => Self::Error,
            "hang" => Self::Hang,
            "garbage" => Self::Garbage,
            "empty" => Self::Empty,
            "wrong-name" => Self::WrongName,
            "wrong-key" => Self::WrongKey,
            "expired" => Self::Expired,
            text => match text.strip_prefix("good-for-") {
                Some(seconds) => Self::Good(Duration::from_secs(seconds.parse()?)),
                None => Self::Good(DAY),
            },
        })
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves until killed.
pub(crate) async fn serve(ca: Ca) -> Result<()> {
    let acceptor = acceptor(&ca.chain, &ca.key)?;
    let listener = TcpListener::bind(ca.address).await.with_context(|| format!("binding {}", ca.address))?;
    let ca = Arc::new(ca);
    loop {
        let (tcp, _) = listener.accept().await?;
        let (ca, acceptor) = (ca.clone(), acceptor.clone());
        tokio::spawn(async move {
            if let Err(error) = connection(ca, &acceptor, tcp).await {
                eprintln!("{error:#}");
            }
        });
    }
}

async fn connection(ca: Arc<Ca>, acceptor: &TlsAcceptor, tcp: TcpStream) -> Result<()> {
    let tls = acceptor.accept(tcp).await?;
    let service = hyper::service::service_fn(move |request| respond(ca.clone(), request));
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    Ok(server.serve_connection(TokioIo::new(tls), service).await?)
}

pub(crate) fn acceptor(chain: &Path, key: &Path) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn respond(ca: Arc<Ca>, request: Request<Incoming>) -> Result<Response<Body>> {
    let message = request.into_body().collect().await?.to_bytes();
    let message = message.get(GRPC_HEADER..).context("a gRPC message has five bytes of header")?;
    let csr = CertificateSigningRequestParams::from_pem(&text_field(message, 1)?)?;
    let (answer, identity) = ca.answer_for(&csr)?;
    println!("{}", serde_json::json!({ "identity": identity, "answer": format!("{answer:?}") }));
    let chain = match answer {
        Answer::Hang => pending().await,
        Answer::Error => return grpc_error("the authority is out of order"),
        Answer::Garbage => vec!["this is no certificate".to_owned(), "neither is this".to_owned()],
        Answer::Empty => Vec::new(),
        answer => vec![ca.sign(csr, answer)?, ca.root()?],
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(grpc_message(chain.iter().map(|part| (1, &**part))).into())
        .with_trailers(async { Some(Ok(trailers)) });
    Ok(Response::builder().header("content-type", "application/grpc").body(body.boxed_unsync())?)
}

fn grpc_error(message: &'static str) -> Result<Response<Body>> {
    let response = Response::builder().header("content-type", "application/grpc").header("grpc-status", "13");
    Ok(response.header("grpc-message", message).body(Full::default().boxed_unsync())?)
}

impl Ca {
    /// How this request is to be answered, and who it is for.
    fn answer_for(&self, csr: &CertificateSigningRequestParams) -> Result<(Answer, String)> {
        let Some(SanType::URI(identity)) = csr.params.subject_alt_names.first() else {
            bail!("no identity is asked for")
        };
        let wanted = std::fs::read_to_string(&self.answers)?;
        let account = identity.as_str().rsplit('/').next().unwrap_or_default();
        let answer = if wanted.trim() == "by-account" { account } else { &wanted };
        Ok((answer.parse()?, identity.to_string()))
    }

    fn root(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.signer.join("ca-cert.pem"))?)
    }

    fn sign(&self, mut csr: CertificateSigningRequestParams, answer: Answer) -> Result<String> {
        let key = KeyPair::from_pem(&std::fs::read_to_string(self.signer.join("ca-key.pem"))?)?;
        let issuer = Issuer::from_ca_cert_pem(&self.root()?, key)?;
        let now = SystemTime::now();
        let (from, until) = match answer {
            Answer::Good(lifetime) => (now - Duration::from_secs(60), now + lifetime),
            Answer::Expired => (now - 2 * DAY, now - DAY),
            _ => (now - Duration::from_secs(60), now + DAY),
        };
        let params = &mut csr.params;
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let seconds =
            |time: SystemTime| Duration::from_secs(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        (params.not_before, params.not_after) = (epoch + seconds(from), epoch + seconds(until));
        params.is_ca = IsCa::NoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        if answer == Answer::WrongName {
            params.subject_alt_names =
                vec![SanType::URI("spiffe://cluster.local/ns/shop/sa/somebody-else".try_into()?)];
        }
        if answer == Answer::WrongKey {
            return Ok(csr.params.signed_by(&KeyPair::generate()?, &issuer)?.pem());
        }
        Ok(csr.signed_by(&issuer)?.pem())
    }
}

/// A field of a protobuf message that is a text: the first of that number.
pub(crate) fn text_field(message: &[u8], number: u64) -> Result<String> {
    let mut rest = message;
    while let Some((tag, after)) = varint(rest) {
        match tag & 7 {
            0 => rest = varint(after).context("a number")?.1,
            2 => {
                let (length, after) = varint(after).context("a length")?;
                let (text, after) = after.split_at_checked(usize::try_from(length)?).context("as many bytes")?;
                if tag >> 3 == number {
                    return Ok(String::from_utf8(text.to_vec())?);
                }
                rest = after;
            }
            kind => bail!("a field of kind {kind}"),
        }
    }
    bail!("no field {number}")
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}

/// A protobuf message of texts, each with the number of its field, and gRPC's header before it.
pub(crate) fn grpc_message<'a>(fields: impl IntoIterator<Item = (u8, &'a str)>) -> Vec<u8> {
    let mut message = Vec::new();
    for (number, text) in fields {
        message.push(number << 3 | 2);
        let mut length = text.len();
        while length >= 0x80 {
            message.push(0x80 | length.to_le_bytes()[0] & 0x7f);
            length >>= 7;
        }
        message.push(length.to_le_bytes()[0]);
        message.extend_from_slice(text.as_bytes());
    }
    let length = u32::try_from(message.len()).expect("messages are small");
    [&[0][..], &length.to_be_bytes(), &message].concat()
}
