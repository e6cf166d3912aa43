//! How long the mesh takes: to arrive, to change, to answer, and to let readers through while it arrives.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Bencher, Criterion};
use weir::api::model::address::OriginalDst;
use weir::api::model::workload::Workload;
use weir::api::state::SharedMesh;
use weir::api::xds::{ConfigReceiver, decode_address};

use crate::figures::Figures;
use crate::made_up::{self, Wire};
use crate::memory::receiver;

/// One endpoint's update, from the response to the mesh everybody reads.
const UPDATE_BOUND_US: f64 = 1000.0;
/// Where a connection goes.
const RESOLVE_BOUND_US: f64 = 1.0;
/// How long the mesh may be locked at a time while it is sent again: connections wait for it.
const HOLD_BOUND_US: f64 = 1000.0;
/// Resources that are applied under one lock, as the agent does.
const BATCH: usize = 64;

pub(crate) fn measure(criterion: &mut Criterion, wire: &Wire, figures: &mut Figures) {
    arrival(criterion, wire, figures);
    let (mesh, receiver) = receiver();
    let _ = receiver.handle_response(wire.response());
    update(criterion, wire, &receiver, figures);
    answers(criterion, wire, &mesh, figures);
    holds(wire, &mesh, figures);
    for (what, response) in [("unchanged", wire.response()), ("with every workload moved", wire.moved())] {
        let Waits { whole, mut waits } = resend(wire, &mesh, || drop(receiver.handle_response(response)));
        figures.shown(format!("whole mesh again, {what}"), whole.as_secs_f64() * 1e3, "ms");
        figures.shown("· a lookup meanwhile, median", median(&mut waits).map(micros), "µs");
        figures.shown(
            "· 99 of 100, the processor's other work included",
            of_thousand(&mut waits, 990).map(micros),
            "µs",
        );
    }
}

/// Every workload moves and moves back, batch by batch: what a lock is held for.
fn holds(wire: &Wire, mesh: &SharedMesh, figures: &mut Figures) {
    let mut times = Vec::new();
    for response in [wire.moved(), wire.response()] {
        let decode = |resource: &weir::api::proto::envoy::service::discovery::v3::Resource| {
            let body = &resource.resource.as_ref().expect("it was just made").value;
            decode_address(&resource.name, body).expect("what was made up is well formed")
        };
        for batch in response.resources.chunks(BATCH) {
            let updates: Vec<_> = batch.iter().map(decode).collect();
            let started = Instant::now();
            mesh.apply(updates);
            times.push(started.elapsed());
        }
    }
    let middle = median(&mut times).map(micros);
    figures.shown(format!("lock held for {BATCH} changed resources, median"), middle, "µs");
    figures.bounded("· 99 of 100", of_thousand(&mut times, 990).map(micros), "µs", HOLD_BOUND_US);
}

fn arrival(criterion: &mut Criterion, wire: &Wire, figures: &mut Figures) {
    let mut group = criterion.benchmark_group("arrival");
    group.sample_size(10);
    let mut times = Vec::new();
    group.bench_function("first sync", |bencher: &mut Bencher<'_>| {
        bencher.iter_batched(
            || (receiver(), wire.response()),
            |((mesh, receiver), response)| {
                let started = Instant::now();
                let outcome = receiver.handle_response(response);
                times.push(started.elapsed());
                (mesh, receiver, outcome)
            },
            BatchSize::PerIteration,
        );
    });
    let sync = median(&mut times).map(|time| time.as_secs_f64() * 1e3);
    figures.shown("first sync of everything, one response", sync, "ms");
    times.clear();
    group.bench_function("decode", |bencher: &mut Bencher<'_>| {
        bencher.iter(|| {
            let started = Instant::now();
            for (name, resource) in &wire.resources {
                let _ = black_box(decode_address(name, &resource.body));
            }
            times.push(started.elapsed());
        });
    });
    group.finish();
    let decode = median(&mut times);
    let per_second = |amount: f64| decode.map(|time| amount / time.as_secs_f64());
    figures.shown("decode of istio.workload.Address", per_second(wire.bytes() as f64 / 1e6), "MB/s");
    figures.shown("· resources", per_second(wire.resources.len() as f64), "1/s");
}

/// One endpoint turns unhealthy and healthy again: another one every time, so that nothing is warm, and never the first of
/// its service.
fn update(criterion: &mut Criterion, wire: &Wire, receiver: &ConfigReceiver, figures: &mut Figures) {
    let services = wire.resources.len() - wire.workloads();
    let others = wire.workloads() - services;
    let (mut times, mut number) = (Vec::new(), 0);
    criterion.bench_function("one endpoint's update", |bencher: &mut Bencher<'_>| {
        bencher.iter_batched(
            || {
                number = (number + 7919) % (2 * others);
                wire.change(services + number % others, number >= others)
            },
            |response| {
                let started = Instant::now();
                let outcome = receiver.handle_response(response);
                times.push(started.elapsed());
                outcome
            },
            BatchSize::PerIteration,
        );
    });
    figures.bounded("one endpoint's update, median", median(&mut times).map(micros), "µs", UPDATE_BOUND_US);
    figures.shown("· 99.9 of 100", of_thousand(&mut times, 999).map(micros), "µs");
}

fn answers(criterion: &mut Criterion, wire: &Wire, mesh: &SharedMesh, figures: &mut Figures) {
    let services = wire.resources.len() - wire.workloads();
    let mesh = mesh.read();
    let source = mesh.workload(&made_up::uid(0, services)).expect("it was sent").clone();
    let to = |number: usize| OriginalDst((made_up::vip(number), made_up::PORT).into());
    let resolve = |source: &Workload, number| black_box(mesh.resolve(source, to(number), rand::random)).is_ok();
    // What a pick needs is built when a service is first asked for.
    assert!((0..services).all(|number| resolve(&source, number)), "every service has an endpoint");
    // A node's pods talk to some services, again and again; of all there are, nothing is in the processor's caches.
    for (what, among, bound) in [
        ("of one service", 1, Some(RESOLVE_BOUND_US)),
        ("of 100 services", 100, Some(RESOLVE_BOUND_US)),
        ("of any service", services, None),
    ] {
        let (mut times, mut number) = (Vec::new(), 0);
        criterion.bench_function(&format!("resolve, {what}"), |bencher: &mut Bencher<'_>| {
            bencher.iter_custom(|iterations| {
                let started = Instant::now();
                for _ in 0..iterations {
                    number = (number + 7919) % among;
                    resolve(&source, number);
                }
                let all = started.elapsed();
                times.push(all.div_f64(iterations as f64));
                all
            });
        });
        let (what, value) = (format!("resolve and pick an endpoint {what}"), median(&mut times).map(micros));
        match bound {
            Some(bound) => figures.bounded(what, value, "µs", bound),
            None => figures.shown(what, value, "µs"),
        }
    }
}

struct Waits {
    whole: Duration,
    waits: Vec<Duration>,
}

/// Does something to the mesh while a reader resolves connections; how long each of them took.
fn resend(wire: &Wire, mesh: &SharedMesh, act: impl FnOnce() + Send) -> Waits {
    let services = wire.resources.len() - wire.workloads();
    let source: Arc<Workload> = mesh.read().workload(&made_up::uid(0, services)).expect("it was sent").clone();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let started = Instant::now();
            act();
            over.store(true, Ordering::Release);
            started.elapsed()
        });
        let (mut waits, mut number) = (Vec::new(), 0);
        while !over.load(Ordering::Acquire) {
            number = (number + 7919) % services;
            let asked = Instant::now();
            let _ = black_box(mesh.read().resolve(
                &source,
                OriginalDst((made_up::vip(number), made_up::PORT).into()),
                rand::random,
            ));
            waits.push(asked.elapsed());
            std::thread::sleep(Duration::from_micros(50));
        }
        Waits { whole: writer.join().expect("nothing in it panics"), waits }
    })
}

/// The time that something takes: the median of criterion's samples; `None` where the command line asks for other benchmarks alone.
pub(crate) fn time_of<T>(criterion: &mut Criterion, what: &str, mut act: impl FnMut() -> T) -> Option<Duration> {
    let mut times = Vec::new();
    criterion.bench_function(what, |bencher: &mut Bencher<'_>| {
        bencher.iter_custom(|iterations| {
            let started = Instant::now();
            for _ in 0..iterations {
                black_box(act());
            }
            let all = started.elapsed();
            times.push(all.div_f64(iterations as f64));
            all
        });
    });
    median(&mut times)
}

/// Sorts, too; `None` of nothing.
pub(crate) fn median(times: &mut [Duration]) -> Option<Duration> {
    of_thousand(times, 500)
}

/// The time that so many of a thousand do not exceed. Sorts, too.
fn of_thousand(times: &mut [Duration], thousandths: usize) -> Option<Duration> {
    times.sort_unstable();
    times.get((times.len().saturating_sub(1) * thousandths).div_ceil(1000)).copied()
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
