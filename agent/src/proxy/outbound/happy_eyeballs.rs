//! Connecting to a name with several addresses: "Happy Eyeballs" (RFC 8305). The addresses are tried in the resolver's order, with
//! the families in turn; the next attempt begins when the last has failed, or has taken some time, and the first that
//! succeeds wins.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

/// "Connection Attempt Delay" of RFC 8305, section 5; its recommended value.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The first connection that `connect` opens to one of the addresses, and to which.
///
/// # Errors
/// The last failure; `None` without any address.
pub(super) async fn connect_first<T, E, F: Future<Output = Result<T, E>>>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<(SocketAddr, T), Option<E>> {
    let attempt = |to| {
        let connecting = connect(to);
        async move { connecting.await.map(|connected| (to, connected)) }
    };
    let mut waiting = families_in_turn(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    loop {
        attempts.extend(waiting.next().map(&attempt));
        if attempts.is_empty() {
            return Err(failure);
        }
        tokio::select! {
            Some(result) = attempts.next() => match result {
                Ok(first) => return Ok(first),
                Err(error) => failure = Some(error),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

/// The same addresses, one of the first one's family, then one of the other, and so on.
fn families_in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let count = addresses.len();
    let (one, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut one, mut other) = (one.into_iter(), other.into_iter());
    let mut ordered = Vec::with_capacity(count);
    while ordered.len() < count {
        ordered.extend(one.next());
        ordered.extend(other.next());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().expect("tests write addresses")).collect()
    }

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let given = addresses(&["[fd00::1]:1", "[fd00::2]:1", "[fd00::3]:1", "10.0.0.1:1", "10.0.0.2:1"]);
        let expected = addresses(&["[fd00::1]:1", "10.0.0.1:1", "[fd00::2]:1", "10.0.0.2:1", "[fd00::3]:1"]);
        assert_eq!(families_in_turn(given), expected);
    }

    /// Port 1 refuses at once, port 2 never answers, port 3 accepts after a second.
    async fn connect(to: SocketAddr) -> Result<u16, String> {
        match to.port() {
            1 => Err(format!("{to} refused")),
            2 => std::future::pending().await,
            port => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(port)
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_wins_and_nobody_waits_for_the_dead() {
        // Addresses, the one that is connected, and when.
        let rows: [(&[&str], &str, u64); 4] = [
            (&["10.0.0.1:3", "10.0.0.2:2"], "10.0.0.1:3", 1000),
            (&["[fd00::1]:2", "10.0.0.1:3"], "10.0.0.1:3", 1250),
            (&["[fd00::1]:1", "10.0.0.1:3"], "10.0.0.1:3", 1000),
            (&["[fd00::1]:2", "[fd00::2]:2", "10.0.0.1:1", "10.0.0.2:3"], "10.0.0.2:3", 1500),
        ];
        for (given, expected, millis) in rows {
            let started = Instant::now();
            let connected = connect_first(addresses(given), connect).await;
            assert_eq!(connected, Ok((expected.parse().expect("an address"), 3)), "{given:?}");
            assert_eq!(started.elapsed(), Duration::from_millis(millis), "{given:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_failure_is_told_when_all_have_failed() {
        let failed = connect_first(addresses(&["10.0.0.1:1", "10.0.0.2:1"]), connect).await;
        assert_eq!(failed, Err(Some("10.0.0.2:1 refused".to_owned())));
        assert_eq!(connect_first(Vec::new(), connect).await, Err(None));
    }
}
