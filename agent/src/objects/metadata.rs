//! `metadata` of an object (`ObjectMeta` of Kubernetes), and the key an object is stored under.

use std::fmt;

use super::kind::Kind;
use super::labels::Labels;
use super::reading::{Fields, Place, names};

/// The fields of `metadata` that have a meaning here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    pub name: String,
    /// Empty for cluster-scoped kinds.
    pub namespace: String,
    pub labels: Labels,
    pub annotations: Labels,
    /// `creationTimestamp` as `YYYY-MM-DDTHH:MM:SS`, in UTC. Text order is time order.
    pub created: Option<String>,
    /// Kind and name of the object that made this one.
    pub controller: Option<(String, String)>,
    /// The cluster made the name from `generateName`.
    pub is_generated: bool,
    /// It has a `deletionTimestamp`.
    pub is_deleted: bool,
}

/// Identifies an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl Kind {
    /// The key of an object; there is one MeshConfig whatever its name.
    pub(super) fn key(self, namespace: &str, name: &str) -> ObjectKey {
        if self == Self::MeshConfig {
            return ObjectKey { kind: self, namespace: String::new(), name: "mesh".to_owned() };
        }
        ObjectKey { kind: self, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            return write!(f, "{} {}", self.kind, self.name);
        }
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Fields a cluster writes; they say nothing about the mesh.
const WRITTEN_BY_THE_CLUSTER: [&str; 7] =
    ["uid", "resourceVersion", "generation", "managedFields", "finalizers", "selfLink", "deletionGracePeriodSeconds"];

/// Reads `metadata`. The name may be missing (an error) and the metadata is still returned: what can be read of a broken
/// policy decides how much it denies.
pub(super) fn read(mut fields: Fields<'_>, kind: Kind) -> Metadata {
    let place = fields.place();
    let name = checked_name(&fields.text("name").unwrap_or_default(), kind, &place);
    let namespace = checked_namespace(&fields.text("namespace").unwrap_or_default(), kind, &place);
    let metadata = Metadata {
        name,
        namespace,
        labels: fields.text_map("labels"),
        annotations: fields.text_map("annotations"),
        created: created(&mut fields),
        controller: controller(&mut fields),
        is_generated: fields.get("generateName").is_some(),
        is_deleted: fields.get("deletionTimestamp").is_some(),
    };
    for name in WRITTEN_BY_THE_CLUSTER {
        fields.skip(name);
    }
    fields.finish();
    metadata
}

/// Checks `name` in the metadata that stands at `place`.
pub(super) fn checked_name(name: &str, kind: Kind, place: &Place<'_>) -> String {
    if !name.is_empty() {
        if let Err(reason) = names::object_name(name) {
            place.field("name").error(reason);
        }
    } else if kind != Kind::MeshConfig {
        place.field("name").error("an object needs a name");
    }
    name.to_owned()
}

/// The namespace that the metadata at `place` means: none for cluster-scoped kinds, `default` where it names none.
pub(super) fn checked_namespace(namespace: &str, kind: Kind, place: &Place<'_>) -> String {
    if kind.is_cluster_scoped() {
        return String::new();
    }
    if namespace.is_empty() {
        return "default".to_owned();
    }
    if let Err(reason) = names::label(namespace) {
        place.field("namespace").error(reason);
    }
    namespace.to_owned()
}

fn controller(fields: &mut Fields<'_>) -> Option<(String, String)> {
    let report = fields.report();
    let owners = fields.items("ownerReferences");
    let mut owners = owners.iter().filter_map(|item| item.fields(report));
    owners.find_map(|mut owner| {
        let is_controller = owner.flag("controller").unwrap_or(false);
        is_controller.then(|| (owner.text("kind").unwrap_or_default(), owner.text("name").unwrap_or_default()))
    })
}

fn created(fields: &mut Fields<'_>) -> Option<String> {
    let text = fields.text("creationTimestamp")?;
    if let Some(seconds) = seconds_in_utc(&text) {
        return Some(seconds.to_owned());
    }
    fields.error("creationTimestamp", format!("{text:?} is not a time: write it as 2026-01-31T12:00:00Z"));
    None
}

/// `2026-01-31T12:00:00` of `2026-01-31T12:00:00Z`, fractions of a second cut off.
fn seconds_in_utc(text: &str) -> Option<&str> {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let rest = text.strip_suffix('Z')?;
    let (seconds, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let in_form = seconds.len() == FORM.len()
        && seconds.bytes().zip(FORM).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            other => byte == *other,
        });
    (in_form && digits(fraction)).then_some(seconds)
}
