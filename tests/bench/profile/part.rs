//! Which part of the agent's work a sample belongs to: in the kernel by the system call, elsewhere by the function it was in. Code that
//! the compiler put into its caller counts as the caller's, so the parts of one call path are less exact than their sum.

use super::samples::{KERNEL, Sample};

/// A part of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Writing,
    Reading,
    Waiting,
    OtherKernel,
    Codec,
    Routing,
    Log,
    Telemetry,
    Hbone,
    Crypto,
    Allocation,
    Copying,
    Runtime,
    OtherCode,
}

/// Words in the names of functions, for each part; the first that fits counts.
const FUNCTIONS: &[(Part, &[&str])] = &[
    (
        Part::Log,
        &["telemetry::log", "telemetry::request_log", "telemetry::access_log", "tracing", "core::fmt", "core::str"],
    ),
    (Part::Telemetry, &["weir::telemetry"]),
    (Part::Codec, &["weir::http::", "httparse", "weir::model::http::head"]),
    (Part::Crypto, &["weir::tls", "aws_lc", "rustls"]),
    (Part::Hbone, &["weir::hbone", "weir::h2"]),
    (Part::Routing, &["weir::model", "weir::proxy", "weir::state", "core::hash", "hashbrown"]),
    (Part::Allocation, &["mi_", "__rust_", "__rdl_", "raw_vec", "malloc", "alloc::alloc"]),
    (Part::Copying, &["memmove", "memcpy", "memcmp", "memset"]),
    (Part::Runtime, &["tokio", "mio::", "parking_lot", "std::sync", "clock_gettime"]),
];

/// System calls, by words in their names.
const SYSTEM_CALLS: &[(Part, &[&str])] = &[
    // A system call that only calls another function leaves no frame.
    (Part::Writing, &["_sys_send", "_sys_write", "do_writev", "__sys_sendto"]),
    (Part::Reading, &["_sys_recv", "_sys_read", "do_readv", "__sys_recvfrom"]),
    (Part::Waiting, &["_sys_epoll_", "_sys_futex", "_sys_ppoll", "schedule"]),
];

impl Part {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Self; 14] = [
        Self::Writing,
        Self::Reading,
        Self::Waiting,
        Self::OtherKernel,
        Self::Codec,
        Self::Routing,
        Self::Log,
        Self::Telemetry,
        Self::Hbone,
        Self::Crypto,
        Self::Allocation,
        Self::Copying,
        Self::Runtime,
        Self::OtherCode,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Writing => "kernel: writing to sockets",
            Self::Reading => "kernel: reading from sockets",
            Self::Waiting => "kernel: waiting and waking",
            Self::OtherKernel => "kernel: other",
            Self::Codec => "messages of HTTP: reading, writing, moving",
            Self::Routing => "routes, endpoints, connections",
            Self::Log => "access log",
            Self::Telemetry => "metrics and records",
            Self::Hbone => "HBONE and HTTP/2",
            Self::Crypto => "TLS",
            Self::Allocation => "allocation",
            Self::Copying => "copying and comparing bytes",
            Self::Runtime => "runtime, locks, clocks",
            Self::OtherCode => "other code",
        }
    }

    pub(super) fn of(sample: &Sample) -> Self {
        let fits =
            |names: &[&str], words: &[&str]| names.iter().any(|name| words.iter().any(|word| name.contains(word)));
        let first = |names: &[&str], parts: &[(Self, &[&str])]| {
            parts.iter().find(|(_, words)| fits(names, words)).map(|(part, _)| *part)
        };
        if sample.object == KERNEL {
            let names: Vec<&str> = sample.kernel.iter().map(String::as_str).collect();
            return first(&names, SYSTEM_CALLS).unwrap_or(Self::OtherKernel);
        }
        first(&[&sample.function], FUNCTIONS).unwrap_or(Self::OtherCode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_belong_to_the_system_call_or_to_the_function() {
        let sample = |function: &str, object: &str, kernel: &[&str]| Sample {
            process: 1,
            function: function.to_owned(),
            object: object.to_owned(),
            kernel: kernel.iter().map(|name| (*name).to_owned()).collect(),
        };
        for (function, kernel, expected) in [
            ("tcp_sendmsg", &["tcp_sendmsg", "__x64_sys_sendto"][..], Part::Writing),
            ("copy_to_iter", &["copy_to_iter", "__x64_sys_recvfrom", "do_syscall_64"], Part::Reading),
            ("tcp_sendmsg", &["tcp_sendmsg", "do_iter_readv_writev", "do_writev", "do_syscall_64"], Part::Writing),
            ("schedule", &["schedule", "__x64_sys_epoll_wait"], Part::Waiting),
            ("irq", &["irq"], Part::OtherKernel),
        ] {
            assert_eq!(Part::of(&sample(function, KERNEL, kernel)), expected, "{function}");
        }
        for (function, expected) in [
            ("<weir::telemetry::log::format::Escaping as core::fmt::Write>::write_str", Part::Log),
            ("weir::telemetry::request::RequestRecord::open", Part::Telemetry),
            ("weir::http::h1::fields::sort", Part::Codec),
            ("weir::model::http::head::HttpFields::append", Part::Codec),
            ("weir::model::mesh::services::Services::get", Part::Routing),
            ("weir::proxy::outbound::http::forward::Forwarding<D>::run::{{closure}}", Part::Routing),
            ("weir::hbone::transport::Transport::poll_drive", Part::Hbone),
            ("aws_lc_0_47_0_aes_gcm_encrypt_avx512", Part::Crypto),
            ("_mi_page_malloc_zero", Part::Allocation),
            ("__memmove_avx512_unaligned_erms", Part::Copying),
            ("tokio::runtime::task::raw::poll", Part::Runtime),
            ("main", Part::OtherCode),
            ("", Part::OtherCode),
        ] {
            assert_eq!(Part::of(&sample(function, "/run/weir", &[])), expected, "{function}");
        }
        assert!(Part::ALL.iter().enumerate().all(|(number, part)| *part as usize == number));
    }
}
