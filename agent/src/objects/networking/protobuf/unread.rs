//! Fields of an encoded MeshConfig that nothing here reads, so that none is left out without a word. The decoder skips them; they are
//! found by their numbers. A control plane fills in Istio's defaults: a field that only has its default is nobody's wish and is not told.

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// What is known of a message.
struct Schema {
    /// Numbers of fields that are read, or that matter to a control plane alone.
    read: &'static [u32],
    /// Messages in it that are looked into.
    parts: &'static [(u32, &'static str, &'static Schema)],
    /// Fields that are not read: number, name, and the values without a meaning of their own, as encoded.
    unread: &'static [(u32, &'static str, &'static [&'static [u8]])],
    /// Why those have no effect.
    why: &'static str,
}

/// A list of messages, or of texts, that no field of an installation has by default.
const NO_DEFAULT: &[&[u8]] = &[];
const TRUE: &[&[u8]] = &[b"\x08\x01"];
const EMPTY: &[&[u8]] = &[b""];

static MESH_CONFIG: Schema = Schema {
    // 59 and 72 say what a control plane sends; 12 is Istio's default and switches nothing on by itself.
    read: &[6, 12, 13, 17, 24, 26, 27, 28, 32, 33, 34, 35, 41, 46, 58, 59, 60, 61, 71, 72, 50_001],
    parts: &[
        (14, "defaultConfig", &PROXY_CONFIG),
        (57, "extensionProviders[]", &PROVIDER),
        (62, "defaultHttpRetryPolicy", &RETRY),
    ],
    unread: &[
        (4, "proxyListenPort", &[b"\x99\x75"]),
        (5, "proxyHttpPort", &[b"\x00"]),
        (7, "ingressClass", &[b"istio"]),
        (8, "ingressService", &[b"istio-ingressgateway"]),
        (9, "ingressControllerMode", &[b"\x03"]),
        (22, "configSources", NO_DEFAULT),
        (31, "defaultServiceExportTo", &[b"*"]),
        (36, "dnsRefreshRate", &[b"\x08\x3c"]),
        (40, "enableEnvoyAccessLogService", &[b"\x00"]),
        (42, "protocolDetectionTimeout", EMPTY),
        (43, "enableAutoMtls", TRUE),
        (44, "inboundClusterStatName", NO_DEFAULT),
        (45, "outboundClusterStatName", NO_DEFAULT),
        (47, "certificates", NO_DEFAULT),
        (50, "serviceSettings", NO_DEFAULT),
        (51, "enablePrometheusMerge", TRUE),
        (52, "ingressSelector", NO_DEFAULT),
        (54, "verifyCertificateAtClient", TRUE),
        (55, "ca", NO_DEFAULT),
        (56, "disableEnvoyListenerLog", &[b"\x00"]),
        (63, "meshMTLS", EMPTY),
        (64, "tlsDefaults", EMPTY),
        (65, "proxyInboundListenPort", &[b"\x9e\x75"]),
        (66, "inboundTrafficPolicy", EMPTY),
        (67, "serviceScopeConfigs", NO_DEFAULT),
        (70, "hboneIdleTimeout", NO_DEFAULT),
        (73, "zoneAwareLbSetting", NO_DEFAULT),
    ],
    why: "has no effect here",
};

static PROXY_CONFIG: Schema = Schema {
    // 6 and 24 are the installation's own: where a sidecar finds its control plane, and what it is to say of itself there.
    read: &[6, 24],
    parts: &[(19, "tracing", &TRACING), (39, "proxyHeaders", &PROXY_HEADERS)],
    unread: &[
        (1, "configPath", &[b"./etc/istio/proxy"]),
        (2, "binaryPath", &[b"/usr/local/bin/envoy"]),
        (3, "serviceCluster", &[b"istio-proxy"]),
        (4, "drainDuration", &[b"\x08\x2d"]),
        (7, "discoveryRefreshDelay", NO_DEFAULT),
        (8, "zipkinAddress", NO_DEFAULT),
        (10, "statsdUdpAddress", NO_DEFAULT),
        (11, "proxyAdminPort", &[b"\x98\x75"]),
        (12, "availabilityZone", NO_DEFAULT),
        (13, "controlPlaneAuthPolicy", &[b"\x01"]),
        (14, "customConfigFile", NO_DEFAULT),
        (15, "statNameLength", &[b"\xbd\x01"]),
        (16, "concurrency", NO_DEFAULT),
        (17, "proxyBootstrapTemplatePath", NO_DEFAULT),
        (18, "interceptionMode", NO_DEFAULT),
        (20, "envoyMetricsServiceAddress", NO_DEFAULT),
        (21, "sds", NO_DEFAULT),
        (22, "envoyAccessLogService", NO_DEFAULT),
        (23, "envoyMetricsService", NO_DEFAULT),
        (26, "statusPort", &[b"\xac\x75"]),
        (27, "extraStatTags", NO_DEFAULT),
        (28, "gatewayTopology", NO_DEFAULT),
        (29, "terminationDrainDuration", &[b"\x08\x05"]),
        (30, "meshId", NO_DEFAULT),
        (31, "readinessProbe", NO_DEFAULT),
        (32, "proxyStatsMatcher", NO_DEFAULT),
        (33, "holdApplicationUntilProxyStarts", NO_DEFAULT),
        (34, "caCertificatesPem", NO_DEFAULT),
        (35, "image", NO_DEFAULT),
        (36, "tracingServiceName", NO_DEFAULT),
        (37, "runtimeValues", NO_DEFAULT),
        (38, "privateKeyProvider", NO_DEFAULT),
        (40, "fileFlushInterval", NO_DEFAULT),
        (41, "fileFlushMinSizeKb", NO_DEFAULT),
        (42, "statsCompression", NO_DEFAULT),
        (43, "connectionSettings", NO_DEFAULT),
    ],
    why: "has no effect: it configures a sidecar",
};

static TRACING: Schema = Schema {
    read: &[5, 7, 10],
    parts: &[],
    unread: &[
        (1, "zipkin", &[b"\x0a\x18zipkin.istio-system:9411"]),
        (2, "lightstep", NO_DEFAULT),
        (3, "datadog", NO_DEFAULT),
        (4, "stackdriver", NO_DEFAULT),
        (6, "maxPathTagLength", NO_DEFAULT),
        (8, "tlsSettings", NO_DEFAULT),
        (9, "openCensusAgent", NO_DEFAULT),
    ],
    why: "has no effect: spans go to a provider of the kind opentelemetry, and texts of tags have at most 256 bytes",
};

static PROXY_HEADERS: Schema = Schema {
    read: &[2, 3, 4, 5, 40, 41, 42],
    parts: &[],
    unread: &[
        (1, "forwardedClientCert", NO_DEFAULT),
        (6, "metadataExchangeHeaders", NO_DEFAULT),
        (7, "setCurrentClientCertDetails", NO_DEFAULT),
    ],
    why: "has no effect yet: these fields pass as they came",
};

static RETRY: Schema = Schema {
    read: &[1, 2, 3, 5, 6],
    parts: &[],
    unread: &[(4, "retryRemoteLocalities", NO_DEFAULT)],
    why: "has no effect: every retry considers all endpoints",
};

static PROVIDER: Schema = Schema {
    read: &[1, 10],
    parts: &[
        (2, "envoyExtAuthzHttp", &EXT_AUTHZ_HTTP),
        (3, "envoyExtAuthzGrpc", &EXT_AUTHZ_GRPC),
        (11, "envoyFileAccessLog", &FILE),
        (15, "opentelemetry", &OPENTELEMETRY),
    ],
    unread: &[
        (4, "zipkin", NO_DEFAULT),
        (5, "lightstep", NO_DEFAULT),
        (6, "datadog", NO_DEFAULT),
        // Istio defines one without settings.
        (7, "stackdriver", EMPTY),
        (8, "opencensus", NO_DEFAULT),
        (9, "skywalking", NO_DEFAULT),
        (12, "envoyHttpAls", NO_DEFAULT),
        (13, "envoyTcpAls", NO_DEFAULT),
        (14, "envoyOtelAls", NO_DEFAULT),
        (16, "sds", NO_DEFAULT),
    ],
    why: "is not supported: what names this provider has no effect",
};

static EXT_AUTHZ_HTTP: Schema = Schema {
    read: &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    parts: &[],
    unread: &[(14, "clearRouteCache", &[b"\x00"])],
    why: "has no effect: no route is looked up where the authorizer is asked",
};

static EXT_AUTHZ_GRPC: Schema = Schema {
    read: &[1, 2, 3, 4, 5, 6],
    parts: &[],
    unread: &[(7, "clearRouteCache", &[b"\x00"])],
    why: "has no effect: no route is looked up where the authorizer is asked",
};

static FILE: Schema = Schema {
    read: &[2],
    parts: &[],
    unread: &[(1, "path", &[b"/dev/stdout"]), (3, "omitEmptyValues", &[b"\x00"])],
    why: "has no effect: lines go to the output of the agent, with - or null for what is not there",
};

static OPENTELEMETRY: Schema = Schema {
    read: &[1, 2],
    parts: &[],
    unread: &[
        (3, "maxTagLength", NO_DEFAULT),
        (4, "http", NO_DEFAULT),
        (5, "resourceDetectors", NO_DEFAULT),
        (6, "dynatraceSampler", NO_DEFAULT),
        (7, "grpc", NO_DEFAULT),
        (8, "serviceAttributeEnrichment", NO_DEFAULT),
    ],
    why: "has no effect: spans go over gRPC, with all that they have; a provider with http is not supported",
};

/// What an encoded MeshConfig has that is not read, as `field: reason`. The message was decoded before.
pub(super) fn fields(mut body: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    walk(&mut body, "", &MESH_CONFIG, &mut found);
    found
}

/// `None` where the message ends before a field of it does.
fn walk(body: &mut &[u8], path: &str, schema: &Schema, found: &mut Vec<String>) -> Option<()> {
    let mut numbers: Vec<(u32, u32)> = Vec::new();
    while body.has_remaining() {
        let (number, wire_type) = decode_key(body).ok()?;
        let value = value(body, wire_type, number)?;
        if schema.read.contains(&number) {
            continue;
        }
        let mut note = |text: String| {
            if !found.contains(&text) {
                found.push(text);
            }
        };
        if let Some((_, name, inner)) = schema.parts.iter().find(|(known, ..)| *known == number) {
            let at = numbers.iter().position(|(known, _)| *known == number).unwrap_or_else(|| {
                numbers.push((number, 0));
                numbers.len() - 1
            });
            let name = name.replace("[]", &format!("[{}]", numbers[at].1));
            numbers[at].1 += 1;
            walk(&mut { value }, &format!("{path}{name}."), inner, found)?;
        } else if let Some((_, name, defaults)) = schema.unread.iter().find(|(known, ..)| *known == number) {
            if !defaults.contains(&value) {
                note(format!("{path}{name}: {}", schema.why));
            }
        } else {
            note(format!("{path}field {number} of protobuf: is not known here and has no effect"));
        }
    }
    Some(())
}

/// Takes the value of a field: what it is encoded as, without its length.
fn value<'b>(body: &mut &'b [u8], wire_type: WireType, number: u32) -> Option<&'b [u8]> {
    if wire_type == WireType::LengthDelimited {
        let length = usize::try_from(decode_varint(body).ok()?).ok()?;
        return body.split_off(..length);
    }
    let before = *body;
    skip_field(wire_type, number, body, DecodeContext::default()).ok()?;
    Some(&before[..before.len() - body.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_named_unless_it_is_the_default() {
        for (body, expected) in [
            (&b""[..], &[][..]),
            (b"\x20\x99\x75", &[]),
            (b"\x20\x01", &["proxyListenPort: has no effect here"]),
            // A list of two, named once; and a field of a version that is newer.
            (b"\xfa\x01\x01.\xfa\x01\x01a", &["defaultServiceExportTo: has no effect here"]),
            (b"\xc0\x0c\x01", &["field 200 of protobuf: is not known here and has no effect"]),
            (
                b"\x72\x05\x9a\x01\x02\x30\x07",
                &[
                    "defaultConfig.tracing.maxPathTagLength: has no effect: spans go to a provider of the kind opentelemetry, \
                   and texts of tags have at most 256 bytes",
                ],
            ),
            (
                b"\xca\x03\x05\x0a\x01a\x52\x00\xca\x03\x07\x0a\x01b\x22\x02\x10\x01",
                &["extensionProviders[1].zipkin: is not supported: what names this provider has no effect"],
            ),
            // Breaks off.
            (b"\x72\x05\x01", &[]),
        ] {
            assert_eq!(fields(body), expected, "{body:?}");
        }
    }
}
