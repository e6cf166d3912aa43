//! `otlp`: a collector of spans (OTLP over gRPC), which prints each as a line of JSON. It reads protobuf by itself: what an agent sends
//! is judged by other code than what wrote it.

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

/// What stands before a message of gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// An uncompressed message without content: everything was taken.
const TAKEN: &[u8] = &[0; PREFIX_BYTES];

/// Serves gRPC to one agent.
pub(crate) async fn serve(stream: TcpStream) -> io::Result<()> {
    let answer = service_fn(|request: Request<Incoming>| async {
        let body = request.into_body().collect().await.map_err(io::Error::other)?.to_bytes();
        let spans = body.get(PREFIX_BYTES..).and_then(spans).ok_or(io::ErrorKind::InvalidData)?;
        spans.iter().for_each(|span| println!("{span}"));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let message = Full::new(Bytes::from_static(TAKEN));
        let mut response = Response::new(message.with_trailers(async { Some(Ok(trailers)) }));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        Ok::<_, io::Error>(response)
    });
    let builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.serve_connection(TokioIo::new(stream), answer).await.map_err(io::Error::other)
}

/// The value of a field of protobuf.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, by their numbers; `None` where it is none.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut message)?),
            1 => Field::Number(u64::from_le_bytes(take(&mut message, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Field::Bytes(take(&mut message, length)?)
            }
            5 => Field::Number(u32::from_le_bytes(take(&mut message, 4)?.try_into().ok()?).into()),
            _ => return None,
        };
        found.push((key >> 3, field));
    }
    Some(found)
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The messages of a field.
fn messages<'a>(all: &[(u64, Field<'a>)], number: u64) -> Vec<&'a [u8]> {
    let is_it = |(found, field): &(u64, Field<'a>)| match field {
        Field::Bytes(bytes) if *found == number => Some(*bytes),
        _ => None,
    };
    all.iter().filter_map(is_it).collect()
}

/// The spans of an `ExportTraceServiceRequest`, each with the name of its service.
fn spans(request: &[u8]) -> Option<Vec<Value>> {
    let mut found = Vec::new();
    for of_resource in messages(&fields(request)?, 1) {
        let of_resource = fields(of_resource)?;
        let resource = messages(&of_resource, 1).first().map_or(Some(Vec::new()), |resource| fields(resource))?;
        let resource = attributes(&resource, 1)?;
        for scope in messages(&of_resource, 2) {
            for span in messages(&fields(scope)?, 2) {
                found.push(span_of(&fields(span)?, &resource)?);
            }
        }
    }
    Some(found)
}

/// See `opentelemetry.proto.trace.v1.Span`.
fn span_of(span: &[(u64, Field<'_>)], resource: &Map<String, Value>) -> Option<Value> {
    let hex = |number| {
        let bytes = messages(span, number).concat();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let number = |wanted| {
        let is_it = |(found, field): &(u64, Field<'_>)| match field {
            Field::Number(value) if *found == wanted => Some(*value),
            _ => None,
        };
        span.iter().find_map(is_it).unwrap_or_default()
    };
    let name = String::from_utf8_lossy(&messages(span, 5).concat()).into_owned();
    Some(json!({
        "trace": hex(1), "span": hex(2), "parent": hex(4), "name": name, "kind": number(6),
        "microseconds": number(8).saturating_sub(number(7)) / 1000, "began": number(7),
        "service": resource.get("service.name"), "pod": resource.get("k8s.pod.name"), "node": resource.get("k8s.node.name"), "tags": attributes(span, 9)?,
    }))
}

/// `KeyValue`s; of values only text and whole numbers.
fn attributes(message: &[(u64, Field<'_>)], number: u64) -> Option<Map<String, Value>> {
    let mut found = Map::new();
    for pair in messages(message, number) {
        let pair = fields(pair)?;
        let key = String::from_utf8_lossy(&messages(&pair, 1).concat()).into_owned();
        let value = messages(&pair, 2).concat();
        let value = match fields(&value)?.first() {
            Some((1, Field::Bytes(text))) => Value::from(String::from_utf8_lossy(text)),
            Some((3, Field::Number(number))) => Value::from(*number),
            _ => Value::Null,
        };
        found.insert(key, value);
    }
    Some(found)
}
