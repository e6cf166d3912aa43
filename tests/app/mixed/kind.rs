//! The kinds of requests, and how many workers send each.

/// What a worker asks for, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Some of the pattern.
    Download,
    /// Sends some of the pattern; the server says what it got.
    Upload,
    /// A download from any endpoint, those that come and go among them.
    Spread,
    /// A download by a route that never changes.
    Pinned,
    /// A path that a policy allows at times, the even ones and the odd ones in turn.
    Open,
    /// What no policy allows.
    Never,
    /// A download that its client leaves midway.
    LeftDownload,
    /// An upload that its client leaves midway.
    LeftUpload,
    /// Messages of gRPC, each of which comes back before the next one goes.
    Stream,
}

/// Workers of one kind.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) kind: Kind,
    pub(super) is_http2: bool,
    pub(super) workers: usize,
    /// Of each worker, between two requests.
    pub(super) pause_ms: u64,
}

/// Workers of a client whom policies allow something.
pub(super) const CREW: &[Member] = &[
    member(Kind::Download, false, 4, 90),
    member(Kind::Download, true, 4, 90),
    member(Kind::Upload, false, 4, 90),
    member(Kind::Upload, true, 4, 90),
    member(Kind::Spread, false, 3, 60),
    member(Kind::Spread, true, 3, 60),
    member(Kind::Pinned, false, 1, 110),
    member(Kind::Pinned, true, 1, 110),
    member(Kind::Open, false, 2, 80),
    member(Kind::Open, true, 2, 80),
    member(Kind::Never, false, 1, 110),
    member(Kind::Never, true, 1, 110),
    member(Kind::LeftDownload, false, 1, 130),
    member(Kind::LeftDownload, true, 1, 130),
    member(Kind::LeftUpload, false, 1, 130),
    member(Kind::LeftUpload, true, 1, 130),
    member(Kind::Stream, true, 4, 50),
];

/// Those of a client whom none allows anything.
pub(super) const DENIED: &[Member] = &[member(Kind::Never, false, 2, 150), member(Kind::Never, true, 2, 150)];

const fn member(kind: Kind, is_http2: bool, workers: usize, pause_ms: u64) -> Member {
    Member { kind, is_http2, workers, pause_ms }
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Spread => "spread",
            Self::Pinned => "pinned",
            Self::Open => "open",
            Self::Never => "never",
            Self::LeftDownload => "left download",
            Self::LeftUpload => "left upload",
            Self::Stream => "stream",
        }
    }

    pub(super) fn is_ever_allowed(self) -> bool {
        self != Self::Never
    }

    pub(super) fn is_ever_denied(self) -> bool {
        matches!(self, Self::Open | Self::Never)
    }

    pub(super) fn method(self) -> &'static str {
        if matches!(self, Self::Upload | Self::LeftUpload | Self::Stream) { "POST" } else { "GET" }
    }

    /// The path of the request with this number.
    pub(super) fn path(self, number: u64) -> String {
        match self {
            Self::Spread => "/spread".to_owned(),
            Self::Open => format!("/open/{}", number % 2),
            Self::Never => "/never".to_owned(),
            Self::Stream => "/echo.Echo/Stream".to_owned(),
            _ => format!("/always/{}", self.name().replace(' ', "-")),
        }
    }
}

/// A number below a limit that differs from one request to the next.
pub(super) fn below(number: u64, limit: u64) -> u64 {
    (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % limit
}
