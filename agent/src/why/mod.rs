//! `weir why`: what the agent would do with a request of a pod, and why. It asks the same functions as the data path and changes
//! nothing; where the data path draws by chance, all that may come is told.

mod asker;
mod at_destination;
mod destinations;
mod endpoints;
mod explain;
mod explanation;
mod names;
mod question;
mod reach;
mod render;
mod rules;
mod secrets;
#[cfg(test)]
mod tests;

pub use self::asker::{Asker, AtDestination, as_written};
pub use self::explain::explain;
pub use self::explanation::Explanation;
pub use self::question::{Question, QuestionError, find_pod};
pub use self::render::render;
