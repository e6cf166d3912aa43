//! The answer in words.

use super::explanation::{AnswerLine, DestinationLine, EndpointLine, Explanation, ObjectLine, RuleLine};

/// Width of the names of the lines.
const NAME_WIDTH: usize = 13;

/// An answer as `weir why` prints it.
#[must_use]
pub fn render(explanation: &Explanation) -> String {
    let Explanation { request, pod, identity, address, destination, .. } = explanation;
    let mut text = Text::default();
    text.line("request", format!("{request}, from {pod} ({identity})"));
    let address = address.map_or(String::new(), |address| format!("{address}: "));
    let whose = destination.as_deref().unwrap_or("not known to the mesh");
    text.line("destination", format!("{address}{whose}; {}", explanation.destination_because));
    text.line("served as", format!("{}: {}", explanation.served_as, explanation.served_because));
    text.block("objects", explanation.objects.iter().map(|object| format!("{} {}", named(object), object.because)));
    text.block("rules", explanation.rules.iter().map(rule));
    text.block("actions", explanation.actions.iter().cloned());
    if let Some(answer) = &explanation.answer {
        text.line("answer", answered(answer));
    }
    for destination in &explanation.destinations {
        text.line("goes to", goes_to(destination));
        for more in details(destination) {
            text.line("", format!("  {more}"));
        }
    }
    text.block("problems", explanation.problems.iter().cloned());
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, name: &str, value: String) {
        // Names and fields come from elsewhere; none may steer the terminal.
        let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.0.push_str(format!("{name:<NAME_WIDTH$}{clean}").trim_end());
        self.0.push('\n');
    }

    fn block(&mut self, name: &str, values: impl Iterator<Item = String>) {
        for (at, value) in values.enumerate() {
            self.line(if at == 0 { name } else { "" }, value);
        }
    }
}

fn named(object: &ObjectLine) -> String {
    let names =
        if object.objects.is_empty() { "an object without rules".to_owned() } else { object.objects.join(" and ") };
    format!("{names} (host {})", object.host)
}

fn rule(line: &RuleLine) -> String {
    let RuleLine { object, rule, met, failed, is_taken, .. } = line;
    let all = |conditions: &[String]| conditions.join(", ");
    let why = match (is_taken, failed) {
        (true, _) if met.is_empty() => "taken: it is for every request".to_owned(),
        (true, _) => format!("taken: {}", all(met)),
        (false, Some(failed)) if met.is_empty() => format!("not taken, because not: {failed}"),
        (false, Some(failed)) => format!("not taken: {}, but not: {failed}", all(met)),
        (false, None) => "not taken".to_owned(),
    };
    format!("{object} rule {rule} {why}")
}

fn answered(answer: &AnswerLine) -> String {
    match answer {
        AnswerLine { status: 0, because } => because.clone(),
        AnswerLine { status, because } => format!("{status}: {because}"),
    }
}

fn goes_to(destination: &DestinationLine) -> String {
    let DestinationLine { name, port, weight, total_weight, subset, destination_rule, .. } = destination;
    let share = match (weight, total_weight) {
        (_, 1) => String::new(),
        (_, 0) => "0 %  ".to_owned(),
        (weight, total) => format!("{:.1} %  ", f64::from(*weight) * 100.0 / f64::from(*total)).replace(".0 %", " %"),
    };
    let subset = subset.as_ref().map_or(String::new(), |subset| format!(", subset {subset}"));
    let rule = destination_rule.as_ref().map_or(String::new(), |rule| format!(" ({rule})"));
    format!("{share}{name} port {port}{subset}{rule}")
}

fn details(destination: &DestinationLine) -> Vec<String> {
    let mut details = Vec::new();
    let other = destination.other_rules.iter().map(|rule| format!("{} {}", named(rule), rule.because));
    details.extend(other);
    details.extend(destination.policy.iter().cloned());
    details.extend(destination.answer.as_ref().map(|answer| format!("answer {}", answered(answer))));
    details.extend(destination.endpoints.iter().map(endpoint));
    if destination.more_endpoints > 0 {
        details.push(format!("endpoints that are not listed: {}", destination.more_endpoints));
    }
    if destination.outside_of_subset > 0 {
        details.push(format!("endpoints of the service that are not of the subset: {}", destination.outside_of_subset));
    }
    details
}

fn endpoint(line: &EndpointLine) -> String {
    let EndpointLine { name, address, transport, identity, node, locality, health, authorization, tokens, .. } = line;
    let mark = if line.is_candidate { "+" } else { "-" };
    let identity = identity.as_ref().map_or(String::new(), |identity| format!(" as {identity}"));
    let mut parts = vec![format!("{mark} {name} at {address} over {transport}{identity}")];
    parts.extend((!node.is_empty()).then(|| format!("node {node}")));
    parts.extend((!locality.is_empty()).then(|| locality.clone()));
    parts.push(health.clone());
    parts.push(format!("{} under way", line.requests_under_way));
    parts.extend(line.because.as_ref().map(|because| format!("not used: {because}")));
    parts.extend(
        (!line.authorizers.is_empty()).then(|| format!("external authorization: {}", line.authorizers.join(", "))),
    );
    parts.extend((!tokens.is_empty()).then(|| format!("tokens: {}", tokens.join(", "))));
    parts.extend(line.token.as_ref().map(|token| format!("token: {token}")));
    parts.extend((!authorization.is_empty()).then(|| format!("authorization: {authorization}")));
    parts.extend((!line.limits.is_empty()).then(|| format!("rate limits: {}", line.limits.join(", "))));
    parts.join("; ")
}
