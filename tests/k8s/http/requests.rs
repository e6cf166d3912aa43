//! Sends the requests of a case from their pods, all those of a pod by one `kubectl exec`, and says what is not as expected.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::cluster::kubectl::Kubectl;
use weir_tests::cluster::pods::last_line;
use weir_tests::http_mesh::{Answer as Seen, HttpSeen};

use super::case::{Answer, Client, Expected, Request};
use super::manifest::Names;

/// How long all requests of a pod may take together.
const WITHIN: Duration = Duration::from_secs(60);
/// Ends what a request printed; no body of these tests has it.
const END: char = '\u{1e}';
/// By how many of a hundred a share may be off. With [`LOAD`] requests that is more than five standard deviations.
const TOLERANCE: u64 = 13;
/// What is sent over a connection that carries no HTTP.
const ECHOED: &str = "hello";
/// Requests of a load: that one of three pods is missed by chance has a probability of 10⁻³⁵.
const LOAD: u64 = 400;

/// What a request printed, curl's exit code and how long it took.
struct Printed<'a> {
    text: &'a str,
    code: &'a str,
    milliseconds: f64,
}

/// Sends all of them; a line for each whose outcome is another.
pub(super) fn faults(kubectl: &Kubectl, requests: &[Request], names: &Names) -> Result<Vec<String>> {
    let mut of_clients: BTreeMap<Client, Vec<&Request>> = BTreeMap::new();
    for request in requests {
        of_clients.entry(request.from).or_default().push(request);
    }
    let mut faults = Vec::new();
    for (client, requests) in of_clients {
        let script: String = requests.iter().map(|request| command(request, names)).collect();
        let output = kubectl.exec_output(WITHIN, client.namespace, client.pod, &["sh", "-c", &script])?;
        let printed: Vec<&str> = output.stdout.split_terminator(END).map(str::trim_start).collect();
        // The last part is what curl wrote after the last separator: each record is two parts.
        ensure!(printed.len() == 2 * requests.len(), "{} did not send all: {}", client.pod, output.summary());
        for (request, record) in requests.iter().zip(printed.chunks(2)) {
            let (code, seconds) = record[1].trim().split_once(' ').context("a record has a code and a time")?;
            let milliseconds = seconds.parse::<f64>().context("a time is a number")? * 1000.0;
            let printed = Printed { text: record[0], code, milliseconds };
            if let Err(fault) = judge(request, &printed, names) {
                faults.push(format!("{} {:?} from {}: {fault:#}", request.path, request.arguments, client.pod));
            }
        }
    }
    Ok(faults)
}

/// A line of shell.
fn command(request: &Request, names: &Names) -> String {
    let (host, address) = names.destination(request);
    let arguments = request.arguments.iter().map(|argument| names.in_text(argument));
    let words: Vec<String> = match request.expected {
        Expected::Answer(_) => {
            let port = if request.port == 80 { String::new() } else { format!(":{}", request.port) };
            let url = format!("http://{host}{port}{}", names.in_text(request.path));
            let usual = ["curl", "-sS", "--include", "--path-as-is", "--max-time", "10"].map(str::to_owned);
            let there = ["--connect-to".to_owned(), format!("::{address}:{}", request.port)];
            let end = ["--write-out".to_owned(), format!("{END}%{{exitcode}} %{{time_total}}{END}")];
            usual.into_iter().chain(there).chain(end).chain(arguments).chain([url]).collect()
        }
        Expected::Echo(_) => {
            let to = format!("{address}:{}", request.port);
            ["weir-test-app", "probe", &to, "--send", ECHOED].map(str::to_owned).into()
        }
        Expected::Shares(_) | Expected::Only(_) | Expected::OnePod => {
            let usual = ["weir-test-app", "http-load"].map(str::to_owned);
            let there = [format!("{address}:{}", request.port), format!("--host={host}")];
            let many = [format!("--requests={LOAD}"), "--connections=4".to_owned()];
            usual.into_iter().chain(there).chain(many).chain(arguments).collect()
        }
    };
    let mut line = String::new();
    for word in words {
        let _ = write!(line, "'{}' ", word.replace('\'', r"'\''"));
    }
    match request.expected {
        Expected::Answer(_) => line + "2>&1\n",
        Expected::Shares(_) | Expected::Only(_) | Expected::OnePod | Expected::Echo(_) => {
            line + &format!("2>&1; printf '{END}%s 0{END}' $?\n")
        }
    }
}

fn judge(request: &Request, printed: &Printed<'_>, names: &Names) -> Result<()> {
    ensure!(printed.code == "0", "it failed with {}: {}", printed.code, printed.text);
    match request.expected {
        Expected::Answer(answer) => {
            let seen = Seen::parse(printed.text)?;
            judge_answer(&answer, &seen, printed.milliseconds, names).with_context(|| format!("{seen:?}"))
        }
        Expected::Echo(is_served) => {
            let seen: Value = last_line(printed.text)?;
            ensure!((seen["received"] == ECHOED) == is_served, "{seen}");
            Ok(())
        }
        Expected::Shares(shares) => judge_load(printed.text, |seen, total| {
            for (who, percent) in shares {
                let (count, wanted) = (count_of(seen, who), total * percent / 100);
                ensure!(
                    count.abs_diff(wanted) <= total * TOLERANCE / 100,
                    "{who}: {count} of {total}, {percent} % expected"
                );
            }
            Ok(())
        }),
        Expected::Only(pods) => judge_load(printed.text, |seen, total| {
            let count: u64 = pods.iter().map(|pod| count_of(seen, pod)).sum();
            ensure!(count == total && pods.iter().all(|pod| count_of(seen, pod) > 0), "{pods:?} expected");
            Ok(())
        }),
        Expected::OnePod => judge_load(printed.text, |seen, total| {
            ensure!(seen.pods.len() == 1 && seen.pods.values().sum::<u64>() == total, "one pod expected");
            Ok(())
        }),
    }
}

fn judge_answer(expected: &Answer, seen: &Seen, milliseconds: f64, names: &Names) -> Result<()> {
    seen.expect(expected.status, expected.pod)?;
    if let Some(body) = expected.body {
        ensure!(seen.body == names.in_text(body), "the body {body:?} is expected");
    }
    for (name, value) in expected.headers {
        let value = value.map(|value| names.in_text(value));
        ensure!(seen.header(name) == value.as_deref(), "{name}: {value:?} is expected");
    }
    if expected.target.is_some() || expected.host.is_some() || !expected.received.is_empty() {
        let echo = seen.echo()?;
        if let Some(target) = expected.target {
            ensure!(echo.target == names.in_text(target), "the target {target} is expected");
        }
        if let Some(host) = expected.host {
            ensure!(echo.host == Some(names.in_text(host)), "the authority {host} is expected");
        }
        for (name, value) in expected.received {
            let value = value.map(|value| names.in_text(value));
            ensure!(echo.header(name) == value, "the pod is to receive {name}: {value:?}");
        }
    }
    let (least, most) = expected.takes;
    ensure!(milliseconds >= f64::from(least) && milliseconds <= f64::from(most), "it took {milliseconds:.0} ms");
    Ok(())
}

fn judge_load(printed: &str, judge: impl Fn(&HttpSeen, u64) -> Result<()>) -> Result<()> {
    let last = printed.lines().last().unwrap_or_default();
    let seen: HttpSeen = serde_json::from_str(last).with_context(|| format!("no load printed {printed:?}"))?;
    ensure!(seen.failed == 0 && seen.answered > 0, "{seen:?}");
    judge(&seen, seen.answered).with_context(|| format!("{seen:?}"))
}

/// How many answers a pod gave, or had a status.
fn count_of(seen: &HttpSeen, who: &str) -> u64 {
    match who.parse() {
        Ok(status) => seen.statuses.get(&status).copied().unwrap_or_default(),
        Err(_) => seen.by(who),
    }
}
