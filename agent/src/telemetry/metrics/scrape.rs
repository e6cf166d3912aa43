//! A scrape, written and kept compressed. Every line repeats its labels, so a few thousand connections' peers make
//! megabytes of text that compress to a thirtieth: an agent must not be as large as what it says about itself.

use std::fmt;
use std::io::{self, BufWriter, Read, Write};

use bytes::Buf;
use bytes::Bytes;
use bytes::buf::Reader;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prometheus_client::registry::Registry;

use super::classic::Classic;

/// How much text goes through the compressor at once.
const BLOCK_BYTES: usize = 8 * 1024;

/// The two formats that scrapers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextFormat {
    OpenMetrics,
    /// The older one of Prometheus (0.0.4).
    Classic,
}

/// What one scrape shows.
#[derive(Debug, Clone)]
pub struct Scrape {
    gzipped: Bytes,
    text_bytes: u64,
}

impl Scrape {
    pub(super) fn of(registry: &Registry, format: TextFormat) -> io::Result<Self> {
        let gzip = GzEncoder::new(Vec::new(), Compression::fast());
        let mut counted = Counted { to: BufWriter::with_capacity(BLOCK_BYTES, gzip), bytes: 0 };
        let written = match format {
            TextFormat::OpenMetrics => prometheus_client::encoding::text::encode(&mut counted, registry),
            TextFormat::Classic => prometheus_client::encoding::text::encode(&mut Classic::new(&mut counted), registry),
        };
        written.map_err(io::Error::other)?;
        let gzip = counted.to.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Self { gzipped: gzip.finish()?.into(), text_bytes: counted.bytes })
    }

    /// As it is kept (RFC 1952).
    #[must_use]
    pub fn gzipped(&self) -> Bytes {
        self.gzipped.clone()
    }

    /// Length of the text.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// The text, to be read piece by piece.
    #[must_use]
    pub fn text(&self) -> ScrapeText {
        ScrapeText(GzDecoder::new(self.gzipped.clone().reader()))
    }
}

/// The text of a [`Scrape`].
#[derive(Debug)]
pub struct ScrapeText(GzDecoder<Reader<Bytes>>);

impl Read for ScrapeText {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

/// Counts what is written.
struct Counted<W> {
    to: W,
    bytes: u64,
}

impl<W: Write> fmt::Write for Counted<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len() as u64;
        self.to.write_all(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
