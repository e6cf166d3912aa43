//! Routes out of arbitrary objects: VirtualServices, HTTPRoutes, GRPCRoutes, DestinationRules and Sidecars, mostly of the right form,
//! delivered as an agent's own files are, and asked about by requests of pods in two namespaces.
//!
//! Must hold: nothing panics; what the language accepts, the decoder of resources accepts too; a request takes the first route that
//! matches it, as a search through all of them finds it; and where other objects were in force before, nothing is left of them.
#![no_main]

mod delivery;
mod route_grammar;
mod route_objects;
mod yaml_forms;

use std::fmt::Debug;

use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use weir::api::model::http::{RequestHead, ServiceRoutes, SourceView};
use weir::api::model::peer_authentication::Labels;
use weir::api::model::service::ServiceKey;
use weir::api::objects::Objects;
use weir::api::state::SharedMesh;

use self::route_objects::{NAMESPACES, SERVICES, Sample};

const PORTS: [u16; 2] = [80, 8080];
const SUBSETS: [Option<&str>; 2] = [None, Some("v1")];

fuzz_target!(|data: &[u8]| {
    let Ok(sample) = route_objects::sample(&mut Unstructured::new(data)) else { return };
    let (before, after) = (objects(&sample.before), objects(&sample.after));
    let [changed, new] = [delivery::mesh(&[&before, &after]), delivery::mesh(&[&after])];
    assert_eq!(decided(&changed, &sample), decided(&new, &sample), "{}\n--- after\n{}", sample.after, sample.before);
});

fn objects(text: &str) -> Objects {
    let mut objects = Objects::default();
    // What is not valid is told of, and left out.
    let _ = objects.update(delivery::loaded(text));
    objects
}

/// What a mesh says about all requests of pods of both namespaces to all services.
fn decided(mesh: &SharedMesh, sample: &Sample) -> impl PartialEq + Debug + use<> {
    let (config, mut decided) = (mesh.routes().current(), Vec::new());
    let labels = Labels::from([("app".to_owned(), "a".to_owned())]);
    let picked = |routes: &ServiceRoutes, request: &RequestHead| {
        let picked = routes.pick(request);
        let first = routes.routes().iter().find(|route| route.matches.is_met_by(request));
        assert_eq!(picked, first, "{request:?} under\n{}", sample.after);
        picked.cloned()
    };
    for namespace in NAMESPACES {
        let source = SourceView { namespace, labels: &labels };
        for (of, host) in SERVICES {
            let service = ServiceKey::new(of, host);
            for port in PORTS {
                let policies = SUBSETS.map(|subset| config.destination_policy(source, &service, port, subset));
                let all = [config.routes(source, &service, port), config.routes_by_authority(source, host, port)];
                let picked = all.map(|routes| {
                    let requests = sample.requests.iter();
                    routes.map(|routes| requests.map(|request| picked(&routes, request)).collect::<Vec<_>>())
                });
                decided.push((config.is_imported(source, &service, port), policies, picked));
            }
        }
    }
    decided
}
