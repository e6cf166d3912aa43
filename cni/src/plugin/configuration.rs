//! What the container runtime says on standard input: the version, our section, and the result of the plugins before us,
//! which is handed on byte by byte.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::value::RawValue;
use weir_cni::section::Section;

use super::error::{CniError, Code};

/// The versions of CNI's specification that the plugin was made for. It hands results on as they are, so that a later 1.x
/// is no reason to refuse.
pub(super) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
/// The version to answer in when the configuration names none.
const FALLBACK_VERSION: &str = "1.0.0";

/// The configuration of one call.
#[derive(Debug)]
pub(crate) struct Configuration<'a> {
    pub(crate) section: Section,
    previous_result: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Outer<'a> {
    #[serde(rename = "cniVersion", borrow, default)]
    version: Cow<'a, str>,
    #[serde(rename = "prevResult", borrow, default)]
    previous_result: Option<&'a RawValue>,
}

/// The parts of a result that say which addresses the sandbox has.
#[derive(Debug, Default, Deserialize)]
struct PreviousResult {
    #[serde(default)]
    interfaces: Option<Vec<Interface>>,
    #[serde(default)]
    ips: Option<Vec<Ip>>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    /// Empty for interfaces of the host.
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, Deserialize)]
struct Ip {
    /// Address and prefix length.
    #[serde(default)]
    address: String,
    interface: Option<usize>,
}

impl<'a> Configuration<'a> {
    /// # Errors
    /// When it is not JSON, is of a version that has no chains, or our section in it is wrong.
    pub(crate) fn parse(input: &'a [u8]) -> Result<Self, CniError> {
        let wrong = |error: serde_json::Error| {
            CniError::new(Code::Decoding, format!("the configuration on standard input is not understood: {error}"), "")
        };
        let outer: Outer<'_> = serde_json::from_slice(input).map_err(wrong)?;
        if !is_known(&outer.version) {
            let message = format!("cniVersion {:?} is not supported", outer.version);
            let details = format!("supported are {} and later 1.x", VERSIONS.join(", "));
            return Err(CniError::new(Code::IncompatibleVersion, message, details));
        }
        let section = serde_json::from_slice(input).map_err(wrong)?;
        Ok(Self { section, previous_result: outer.previous_result })
    }

    /// The result of the plugins before, as they wrote it.
    ///
    /// # Errors
    /// When there is none: the plugin was not chained.
    pub(crate) fn previous_result(&self) -> Result<&'a str, CniError> {
        self.previous_result.map(RawValue::get).filter(|text| *text != "null").ok_or_else(|| {
            let details = "weir-cni makes no interfaces: it must come after a plugin that does";
            CniError::new(Code::InvalidConfiguration, "the configuration has no prevResult", details)
        })
    }

    /// The sandbox's addresses; none where the result does not tell, and the namespace itself has to be asked.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let Some(text) = self.previous_result else { return Vec::new() };
        let result: PreviousResult = serde_json::from_str(text.get()).unwrap_or_default();
        let interfaces = result.interfaces.unwrap_or_default();
        let in_sandbox = |ip: &Ip| {
            ip.interface.and_then(|index| interfaces.get(index)).is_none_or(|interface| !interface.sandbox.is_empty())
        };
        let ips = result.ips.unwrap_or_default();
        let ips = ips.iter().filter(|ip| in_sandbox(ip));
        ips.filter_map(|ip| ip.address.split('/').next()?.parse().ok()).collect()
    }
}

/// The version to answer in, whatever else the input is.
pub(crate) fn version_of(input: &[u8]) -> String {
    let outer = serde_json::from_slice::<Outer<'_>>(input).ok();
    let version = outer.map(|outer| outer.version.into_owned()).filter(|version| !version.is_empty());
    version.unwrap_or_else(|| FALLBACK_VERSION.to_owned())
}

fn is_known(version: &str) -> bool {
    VERSIONS.contains(&version) || version.starts_with("1.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(result: &str) -> Vec<String> {
        let input = format!(r#"{{"cniVersion":"1.0.0","type":"weir-cni","prevResult":{result}}}"#);
        let configuration = Configuration::parse(input.as_bytes()).expect("valid");
        configuration.addresses().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_result_is_handed_on_byte_by_byte() {
        let result = r#"{ "z": 1, "a": [1.50, 1e3, 18446744073709551616],"dns":{} }"#;
        let input = format!(r#"{{"cniVersion":"0.4.0","type":"weir-cni","prevResult": {result} }}"#);
        let configuration = Configuration::parse(input.as_bytes()).expect("valid");
        assert_eq!(configuration.previous_result().expect("there"), result);
    }

    #[test]
    fn addresses_are_those_of_the_sandbox() {
        let interfaces = r#""interfaces":[{"name":"cni0"},{"name":"eth0","sandbox":"/n"}]"#;
        for (result, expected) in [
            (r#"{"ips":[{"address":"10.0.0.1/24"}]}"#.to_owned(), vec!["10.0.0.1"]),
            (format!(r#"{{{interfaces},"ips":[{{"interface":1,"address":"10.0.0.1/24"}}]}}"#), vec!["10.0.0.1"]),
            (format!(r#"{{{interfaces},"ips":[{{"interface":0,"address":"10.0.0.1/24"}}]}}"#), vec![]),
            (format!(r#"{{{interfaces},"ips":[{{"interface":7,"address":"10.0.0.1/24"}}]}}"#), vec!["10.0.0.1"]),
            (
                r#"{"ips":[{"version":"4","address":"10.0.0.1/24"},{"version":"6","address":"fd00::1/64"}]}"#
                    .to_owned(),
                vec!["10.0.0.1", "fd00::1"],
            ),
            (r#"{"ips":[{"address":"nonsense"},{}]}"#.to_owned(), vec![]),
            (r#"{"ips":null,"interfaces":null}"#.to_owned(), vec![]),
            ("{}".to_owned(), vec![]),
            (r#"{"ips":"none"}"#.to_owned(), vec![]),
        ] {
            assert_eq!(addresses(&result), expected, "{result}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_a_code() {
        for (input, code) in [
            ("", Code::Decoding),
            ("[1]", Code::Decoding),
            (r#"{"type":"weir-cni"}"#, Code::IncompatibleVersion),
            (r#"{"cniVersion":"0.2.0","type":"weir-cni"}"#, Code::IncompatibleVersion),
            (r#"{"cniVersion":"2.0.0","type":"weir-cni"}"#, Code::IncompatibleVersion),
            (r#"{"cniVersion":"1.0.0","type":"weir-cni","timeoutSeconds":"soon"}"#, Code::Decoding),
        ] {
            assert_eq!(Configuration::parse(input.as_bytes()).expect_err(input).code, code, "{input}");
        }
        for version in VERSIONS.iter().chain(&["1.2.0"]) {
            let input = format!(r#"{{"cniVersion":"{version}","type":"weir-cni"}}"#);
            let configuration = Configuration::parse(input.as_bytes()).expect("a version that is known");
            let error = configuration.previous_result().expect_err("there is none");
            assert_eq!(error.code, Code::InvalidConfiguration);
            assert_eq!(version_of(input.as_bytes()), *version);
        }
        assert_eq!(version_of(b"?"), FALLBACK_VERSION);
    }
}
