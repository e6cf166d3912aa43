//! What a decision is about: the request of a connection, the workload that it wants to reach, and the policies in force.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::claims::Claims;
use super::policy::Authorization;
use crate::model::http::head::RequestHead;
use crate::model::identity::Identity;
use crate::model::peer_authentication::Labels;
use crate::model::workload::Workload;

/// What a connection asks for, before anything that it carries is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequest {
    /// The peer's identity from its certificate; `None` for plaintext.
    pub source: Option<Identity>,
    /// The direct peer's address.
    pub source_ip: IpAddr,
    /// The pod's own address and port.
    pub destination: SocketAddr,
}

/// One request of HTTP that such a connection carries.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest<'a> {
    /// With its path normalised, and otherwise as the application will get it.
    pub head: &'a RequestHead,
    /// The same before its token was verified, which may take the token out and add fields: what rules of CUSTOM are about, since
    /// external authorizers are asked before.
    pub before_token: &'a RequestHead,
    /// The claims of its token, which was verified; `None` without one.
    pub claims: Option<&'a Claims>,
    /// The external authorizers, by the names of their providers, that were asked about this request and allow it.
    pub allowed_by_providers: &'a [Arc<str>],
}

impl<'a> HttpRequest<'a> {
    /// A request without a token, about which nobody was asked.
    #[must_use]
    pub fn of(head: &'a RequestHead) -> Self {
        Self { head, before_token: head, claims: None, allowed_by_providers: &[] }
    }

    /// As it was before its token was verified.
    pub(super) fn without_token(self) -> Self {
        Self { head: self.before_token, claims: None, ..self }
    }
}

/// The workload that a connection wants to reach, with what else decides which policies are in force for it.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    pub workload: &'a Workload,
    /// The labels of its pod. Policies that the agent has as they are written are in force for the pods that they select;
    /// without labels those select nobody.
    pub labels: &'a Labels,
    /// The pod is being taken out of the mesh by those who may do so.
    pub is_leaving: bool,
}

impl<'a> Destination<'a> {
    /// A workload that stays in the mesh, without labels of its pod.
    #[must_use]
    pub fn of(workload: &'a Workload) -> Self {
        static NO_LABELS: Labels = BTreeMap::new();
        Self { workload, labels: &NO_LABELS, is_leaving: false }
    }
}

/// What one policy key stands for among those in force for a workload.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum InForce<'a> {
    Policy(&'a Arc<Authorization>),
    /// The workload lists this key, and the agent has no such policy.
    Unknown(&'a Arc<str>),
}
