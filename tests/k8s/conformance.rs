//! The Gateway API's own conformance suite, as it is, against Weir on two nodes under istiod: what of it is about meshes. It sends
//! requests from pods, by `exec`, and writes its own report.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use weir_tests::cluster::Cluster;
use weir_tests::cluster::mode::Mode;
use weir_tests::program::Program;
use weir_tests::{run, wait};

use crate::harness::{missing_features, usual};
use crate::mesh;
use weir_tests::suite_output::{Outcome, Verdict, is_another_answer, outcome, shortcomings};

/// The suite's program.
const SUITE: &str = "gateway-api-conformance";
const PROFILES: &str = "MESH-HTTP,MESH-GRPC";
/// Everything beside the core of the profiles that some test about meshes asks for. Without the last five, which are no features
/// of a mesh, the suite would skip the tests that use them; its report counts these tests in no profile.
const FEATURES: &[&str] = &[
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRouteResponseHeaderModification",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
];
/// Who the report is about.
const ABOUT: &[&str] = &["-organization=weir", "-project=weir", "-url=https://weir.dev", "-contact=@weir/maintainers"];
/// How long the suite may take; half a minute on 2 cores.
const WITHIN: Duration = Duration::from_secs(1800);
/// Pause between two looks at what it has printed.
const PAUSE: Duration = Duration::from_millis(500);

/// The command `conformance`.
#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// The folder of the suite's program, with the definitions of its version.
    #[arg(long, value_name = "FOLDER")]
    suite: PathBuf,
    /// The image that the suite's pods run, as an OCI archive.
    #[arg(long)]
    image: PathBuf,
    /// Where the suite writes its report; all that it printed is put beside it.
    #[arg(long)]
    report: PathBuf,
    /// Run one of the suite's tests alone. The report then says that the others were skipped.
    #[arg(long, value_name = "TEST")]
    only: Option<String>,
    /// Keep the cluster up until Enter if a test fails, to look at it.
    #[arg(long)]
    keep: bool,
}

/// Brings a cluster up, runs the suite and says how each test went.
pub(crate) fn check(arguments: &Conformance) -> Result<ExitCode> {
    run::take_down_on_signal()?;
    run::take_down_leftovers()?;
    if let Some(missing) = missing_features(Mode::V2) {
        println!("this machine cannot run it: {missing}");
        return Ok(ExitCode::FAILURE);
    }
    let mut settings = usual(Mode::V2)?;
    settings.dns = true;
    settings.images.push(fs::canonicalize(&arguments.image).context("looking for the suite's image")?);
    let cluster = Cluster::start(settings).context("bringing the cluster up")?;
    cluster
        .kubectl
        .apply_from(&arguments.suite.join("definitions"))
        .context("bringing definitions up to the suite's")?;
    mesh::install(&cluster).context("bringing Weir into the cluster")?;
    println!("two nodes, istiod and a name server were ready after {:.0} s", cluster.times.all_ready.as_secs_f64());

    let mut suite = start(&cluster, arguments)?;
    let outcomes = follow(&mut suite, arguments.only.as_deref())?;
    let printed = arguments.report.with_extension("log");
    fs::copy(suite.log(), &printed).with_context(|| format!("keeping the output as {}", printed.display()))?;
    let mut faults = shortcomings_of(arguments)?;
    let status = suite.ended(PAUSE)?;
    faults.extend((!status.success()).then(|| format!("the suite ended with {status}")));
    faults.extend(outcomes.iter().filter(|one| one.verdict != Verdict::Passed).map(|one| one.name.clone()));
    let again = suite.stdout().lines().filter(|line| is_another_answer(line)).count();
    println!("answers that were not the wanted one, so that the suite asked again: {again}");
    println!("report: {}\noutput: {}", arguments.report.display(), printed.display());
    if !faults.is_empty() {
        let kept = cluster.keep_logs()?;
        println!("not as it should be: {}\nlogs of the cluster are in {}", faults.join("; "), kept.display());
        if arguments.keep {
            let (k, ne) = cluster.write_scripts()?;
            println!("The cluster is up until Enter: {} {}", k.display(), ne.display());
            let _ = std::io::stdin().read_line(&mut String::new());
        }
    }
    let count = |verdict| outcomes.iter().filter(|one| one.verdict == verdict).count();
    let [passed, failed, skipped] = [Verdict::Passed, Verdict::Failed, Verdict::Skipped].map(count);
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(if faults.is_empty() && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Starts the suite where the API server is in reach.
fn start(cluster: &Cluster, arguments: &Conformance) -> Result<Program> {
    let program = arguments.suite.join(SUITE);
    ensure!(program.exists(), "{} is not there: `cargo xtask test conformance` builds it", program.display());
    if arguments.report.exists() {
        fs::remove_file(&arguments.report).context("removing the former report")?;
    }
    let mut command = vec![
        program.display().to_string(),
        // Says how a test went when it has ended, and not when all have.
        "-test.v=test2json".to_owned(),
        format!("-test.timeout={}s", WITHIN.as_secs()),
        format!("-conformance-profiles={PROFILES}"),
        format!("-supported-features={}", FEATURES.join(",")),
        "-namespace-labels=istio.io/dataplane-mode=ambient".to_owned(),
        format!("-report-output={}", arguments.report.display()),
        format!("-version={}", env!("CARGO_PKG_VERSION")),
    ];
    command.extend(ABOUT.iter().map(|&word| word.to_owned()));
    command.extend(arguments.only.iter().map(|test| format!("-run-test={test}")));
    let kubeconfig = ("KUBECONFIG".into(), cluster.control_plane.kubeconfig().into());
    cluster.control_plane.room().place().clone().with_environment(vec![kubeconfig]).spawn(&command)
}

/// Prints how each test went as soon as it has ended; all of them, once the suite has.
fn follow(suite: &mut Program, only: Option<&str>) -> Result<Vec<Outcome>> {
    // What is about gateways is skipped, since no profile that was asked for has it.
    let counts = |one: &Outcome| match only {
        Some(only) => one.name == only,
        None => one.verdict != Verdict::Skipped || one.name.starts_with("Mesh"),
    };
    let mut told = 0;
    wait::until_every(PAUSE, "the suite ends", WITHIN, || {
        let is_running = suite.is_running();
        let found: Vec<Outcome> = suite.stdout().lines().filter_map(outcome).filter(counts).collect();
        found[told.min(found.len())..].iter().for_each(|one| println!("{one}"));
        told = found.len();
        ensure!(!is_running, "{told} tests have ended");
        Ok(found)
    })
}

/// What the report says is missing.
fn shortcomings_of(arguments: &Conformance) -> Result<Vec<String>> {
    if arguments.only.is_some() {
        return Ok(Vec::new());
    }
    match fs::read_to_string(&arguments.report) {
        Ok(report) => Ok(shortcomings(&report)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec!["the suite wrote no report".to_owned()]),
        Err(error) => Err(error).context("reading the report"),
    }
}
