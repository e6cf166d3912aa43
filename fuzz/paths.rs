//! The normalisation of paths against an oracle: arbitrary targets under each setting of MeshConfig, made normal by the agent, and once
//! more by the plainest reading of what the settings promise.
//!
//! Must hold: the two agree; what is normal stays as it is, so that the agents of both sides see the same path; the query stays byte for
//! byte; and a normal path has neither segments of dots nor anything that a client should have encoded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir::api::model::http::{PathNormalization, RequestHead};

const SETTINGS: [PathNormalization; 4] = [
    PathNormalization::None,
    PathNormalization::Base,
    PathNormalization::MergeSlashes,
    PathNormalization::DecodeAndMergeSlashes,
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let setting = SETTINGS[usize::from(*choice) % SETTINGS.len()];
    // Most targets begin with a slash.
    let target = if choice & 0x80 == 0 { [&b"/"[..], rest].concat() } else { rest.to_vec() };
    let found = applied(setting, &target);
    assert_eq!(found, expected(setting, &target), "{setting:?} of {:?}", String::from_utf8_lossy(&target));
    let Some(normal) = found else { return };
    assert_eq!(applied(setting, &normal).as_ref(), Some(&normal), "{setting:?} of {target:?} is not normal");
    // Base is the weaker one: what another setting has made normal, it leaves alone.
    if setting != PathNormalization::None {
        assert_eq!(applied(PathNormalization::Base, &normal).as_ref(), Some(&normal), "{setting:?} of {target:?}");
    }
});

/// The target as the agent makes it; `None` where the request is answered 400.
fn applied(setting: PathNormalization, target: &[u8]) -> Option<Vec<u8>> {
    let mut head = RequestHead { target: target.to_vec(), ..RequestHead::default() };
    setting.apply(&mut head).ok().map(|()| head.target)
}

/// The same, segment by segment.
fn expected(setting: PathNormalization, target: &[u8]) -> Option<Vec<u8>> {
    let target = target.split(|byte| *byte == b'#').next().unwrap_or_default();
    if setting == PathNormalization::None || target.first() != Some(&b'/') {
        return Some(target.to_vec());
    }
    let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (mut path, query) = (target[..end].to_vec(), &target[end..]);
    if setting == PathNormalization::DecodeAndMergeSlashes {
        path = with_slashes(&path);
    }
    let path: Vec<u8> = path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    let segments: Vec<&[u8]> = path[1..].split(|byte| *byte == b'/').collect();
    for (at, segment) in segments.iter().enumerate() {
        let segment = normal_segment(segment)?;
        let is_dots = segment == b"." || segment == b"..";
        if segment == b".." {
            kept.pop();
        }
        if !is_dots {
            kept.push(segment);
        } else if at + 1 == segments.len() {
            kept.push(Vec::new());
        }
    }
    let mut normal = Vec::new();
    for segment in &kept {
        normal.push(b'/');
        normal.extend_from_slice(segment);
    }
    if setting != PathNormalization::Base {
        while let Some(at) = normal.windows(2).position(|pair| pair == b"//") {
            normal.remove(at);
        }
    }
    Some([&normal[..], query].concat())
}

fn with_slashes(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < path.len() {
        let slash = path.get(at..at + 3).filter(|code| {
            let code = code.to_ascii_uppercase();
            code == b"%2F" || code == b"%5C"
        });
        out.push(if slash.is_some() { b'/' } else { path[at] });
        at += if slash.is_some() { 3 } else { 1 };
    }
    out
}

/// One segment, decoded as far as it may be and encoded as far as it must; `None` with a zero byte.
fn normal_segment(segment: &[u8]) -> Option<Vec<u8>> {
    const UNRESERVED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    const MUST_BE_ENCODED: &[u8] = b"\"<>`{} \x7f";
    let mut out: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < segment.len() {
        let digits = segment.get(at + 1..at + 3).filter(|code| code.iter().all(u8::is_ascii_hexdigit));
        let code = digits.filter(|_| segment[at] == b'%').and_then(|code| std::str::from_utf8(code).ok());
        let Some(code) = code else {
            match segment[at] {
                0 => return None,
                byte if byte < b' ' || byte >= 0x80 || MUST_BE_ENCODED.contains(&byte) => {
                    out.extend(format!("%{byte:02X}").bytes());
                }
                byte => out.push(byte),
            }
            at += 1;
            continue;
        };
        let byte = u8::from_str_radix(code, 16).expect("two digits");
        // Behind a percent sign that is no escape by itself, a digit would make it one.
        let completes = byte.is_ascii_hexdigit()
            && (out.ends_with(b"%")
                || (out.len() >= 2 && out[out.len() - 2] == b'%' && out[out.len() - 1].is_ascii_hexdigit()));
        match byte {
            0 => return None,
            byte if UNRESERVED.contains(&byte) && !completes => out.push(byte),
            _ => out.extend_from_slice(&segment[at..at + 3]),
        }
        at += 3;
    }
    Some(out)
}
