//! Compares a pipeline with the rule of a policy, and reports all that the rule doesn't permit.
//!
//! It looks at the checked values, which are those that take effect. The document, parsed once more, only tells where they are written.

use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use super::Bounded;
use super::PolicyFile;
use super::PolicyRule;
use super::globs::Globs;
use crate::config::Examined;
use crate::config::Pipeline;
use crate::config::Referenced;
use crate::config::Usable;
use crate::config::check::in_backticks;
use crate::config::document;
use crate::config::referenced;
use crate::config::report::Report;
use crate::config::show;
use crate::config::source::Span;
use crate::config::topic_sets::TopicSet;
use crate::plugin::Network;
use crate::plugin::Origin;
use crate::plugin::Settings;
use crate::plugin::bundled;

pub(super) fn judge(policy: &PolicyFile, examined: &mut Examined) {
    let Examined { report, pipeline: Some((pipeline, usable)), referenced } = examined else { return };
    let Some(rule) = policy.rules.iter().find(|rule| rule.is_for(pipeline)) else {
        refuse_unnamed(policy, pipeline, report);
        *usable = unusable(pipeline);
        return;
    };
    let source = Arc::clone(&pipeline.source);
    // The texts were parsed before, so this reports nothing.
    let document = document::parse(&source, &mut pipeline.report()).map(Spanned::into_inner);
    let before = report.clone();
    let mut judge = Judge { policy, rule, pipeline, document: document.as_ref(), before: &before, report };
    let refused = [judge.brokers(), judge.references(), judge.security()];
    judge.topics();
    judge.grants();
    judge.plugins();
    judge.keys();
    judge.bounds();
    let demand = rule.plugins.as_ref().map(|plugins| &plugins.demand);
    for step in &mut pipeline.steps {
        step.demands.extend(demand.cloned());
    }
    referenced.extend(referenced::signatures(pipeline).map(Referenced::unread));
    // No password goes to other brokers, and no secret of others into a message of a plugin.
    if refused.contains(&true) {
        let components = usable.steps.iter().map(|step| step.component).collect::<Vec<_>>();
        *usable = unusable(pipeline);
        for (step, component) in usable.steps.iter_mut().zip(components) {
            step.component = component;
        }
    }
}

/// Nothing of the pipeline may be checked further.
fn unusable(pipeline: &Pipeline) -> Usable {
    let mut usable = Usable::whole(pipeline);
    usable.connection = false;
    for step in &mut usable.steps {
        (step.component, step.init) = (false, false);
    }
    usable
}

/// Reports that no rule is for a pipeline.
fn refuse_unnamed(policy: &PolicyFile, pipeline: &Pipeline, report: &mut Report) {
    let at = pipeline.spans.name.unwrap_or(Span::START);
    let name = if pipeline.is_shown(at) { &pipeline.name } else { "***" };
    let named: Vec<String> = policy
        .rules
        .iter()
        .map(|rule| match &rule.files {
            None => format!("{} ({})", rule.pipelines.shown(), policy.place(rule.at)),
            Some(files) => {
                format!("{} in files {} ({})", rule.pipelines.shown(), files.shown(), policy.place(rule.at))
            }
        })
        .collect();
    let message = format!("no rule of {} is for the pipeline `{name}`", policy.path.display());
    report.add(at, message, format!("there are rules for {}", named.join("; ")));
}

impl PolicyRule {
    fn is_for(&self, pipeline: &Pipeline) -> bool {
        let is_there = |files: &Globs| real(&pipeline.file).is_some_and(|path| files.permit(&path));
        self.pipelines.permit(&pipeline.name) && self.files.as_ref().is_none_or(is_there)
    }
}

/// The path of a file without links. `None` if there is no such file, or its path isn't UTF-8.
fn real(path: &Path) -> Option<String> {
    path.canonicalize().ok()?.into_os_string().into_string().ok()
}

/// The value of a limit that isn't set and has no default.
const UNLIMITED: u64 = u64::MAX;

struct Judge<'a> {
    policy: &'a PolicyFile,
    rule: &'a PolicyRule,
    pipeline: &'a Pipeline,
    /// `None`: places are those of the nearest part that has one.
    document: Option<&'a DeTable<'a>>,
    /// The findings without those of the policy.
    before: &'a Report,
    report: &'a mut Report,
}

impl Judge<'_> {
    /// Where the value at this path is written; a path has keys, and numbers from 0 in lists.
    fn at(&self, path: &[&str]) -> Option<Span> {
        let (first, rest) = path.split_first()?;
        let mut at = self.document?.get(*first)?;
        for part in rest {
            at = match at.get_ref() {
                DeValue::Table(table) => table.get(*part)?,
                DeValue::Array(items) => items.get(part.parse::<usize>().ok()?)?,
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => return None,
            };
        }
        Some(at.span().into())
    }

    /// Whether the value at this place is the one that is meant: no mistake was found there.
    fn is_meant(&self, at: Span) -> bool {
        !self.before.touches(&(at.start..at.end))
    }

    /// A value for a message.
    fn shown(&self, value: &str, at: Span) -> String {
        match self.pipeline.is_shown(at) {
            true => in_backticks(value),
            false => "`***`".to_owned(),
        }
    }

    /// What a list of the rule permits, and where it says so.
    fn permitted(&self, key: &str, globs: &Globs) -> String {
        match globs.at {
            Some(at) => format!("{}: `{key}` permits {}", self.policy.place(at), globs.shown()),
            None => format!("{}: the rule has no `{key}`, so it permits none", self.policy.place(self.rule.at)),
        }
    }

    /// Reports a value that a list doesn't permit. Whether it did.
    fn listed(&mut self, what: &str, value: &str, at: Span, (key, globs): (&str, &Globs)) -> bool {
        if globs.permit(value) || !self.is_meant(at) {
            return false;
        }
        let message = format!("{what} {} is not permitted", self.shown(value, at));
        let mut help = self.permitted(key, globs);
        if value.starts_with('^') && key == "topics.read" {
            help.push_str("; a pattern needs exactly its text there, or `*`");
        }
        self.report.add(at, message, help);
        true
    }

    /// Reports a switch that the rule doesn't turn on.
    fn switched(&mut self, what: &str, key: &str, at: Span) {
        let help = format!("{}: the rule has no `{key} = true`", self.policy.place(self.rule.at));
        self.report.add(at, format!("{what} is not permitted"), help);
    }

    fn brokers(&mut self) -> bool {
        let kafka = &self.pipeline.kafka;
        let mut refused = false;
        for (number, broker) in kafka.brokers.iter().enumerate() {
            // Several may have come from one reference.
            let at = self.at(&["kafka", "brokers", &number.to_string()]).unwrap_or(self.pipeline.spans.brokers);
            refused |= self.listed("the broker", broker, at, ("brokers", &self.rule.lists.brokers));
        }
        refused
    }

    fn topics(&mut self) {
        let Pipeline { kafka, spans, .. } = self.pipeline;
        let lists = &self.rule.lists;
        for (topic, at) in kafka.input.topics.iter().zip(&spans.topics) {
            self.listed("reading the topic", topic, *at, ("topics.read", &lists.read));
        }
        for (output, spans) in kafka.outputs.iter().zip(&spans.outputs) {
            let what = format!("output `{}`: writing the topic", output.name);
            if let Some(topic) = &output.topic {
                self.listed(&what, topic, spans.topic, ("topics.write", &lists.write));
            }
        }
        for (number, (output, spans)) in kafka.outputs.iter().zip(&spans.outputs).enumerate() {
            for (glob, at) in self.pipeline.routes.allowed(number).iter().zip(&spans.allowed) {
                self.within(&output.name, glob.as_str(), *at);
            }
        }
        if let Some((letters, at)) = kafka.dead_letter.as_ref().zip(spans.dead_letter) {
            self.listed("writing dead letters to the topic", letters.topic_name(), at, ("topics.write", &lists.write));
        }
        if let Some((changelog, windowed)) = kafka.changelog.as_ref().zip(self.pipeline.windowed.as_ref()) {
            let what = "writing the changelog topic";
            self.listed(what, changelog.topic_name(), windowed.span, ("topics.write", &lists.write));
        }
        let at = spans.group.or(spans.name).unwrap_or(spans.input);
        self.listed("the consumer group", &kafka.input.group, at, ("groups", &lists.groups));
    }

    /// Reports a glob of an output with topics that the rule doesn't permit to write.
    fn within(&mut self, output: &str, glob: &str, at: Span) {
        let globs = &self.rule.lists.write;
        let permitted = globs.globs.iter().filter(|glob| glob.pattern.is_some()).map(|glob| glob.text.as_str());
        let permitted = TopicSet::of_globs(permitted);
        let is_within = TopicSet::of_globs([glob].into_iter())
            .zip(permitted)
            .is_some_and(|(topics, permitted)| topics.is_within(&permitted));
        if is_within || !self.is_meant(at) {
            return;
        }
        let message = format!("output `{output}`: writing all topics of {} is not permitted", self.shown(glob, at));
        let help = format!("{}; every topic of the glob has to be among them", self.permitted("topics.write", globs));
        self.report.add(at, message, help);
    }

    fn references(&mut self) -> bool {
        let lists = &self.rule.lists;
        let mut refused = false;
        for (place, reference) in self.pipeline.secrets.all_references() {
            let at = Span::from(place.clone());
            if self.is_of_process(at) {
                continue;
            }
            let name = reference.trim_start_matches("${").trim_end_matches('}');
            refused |= match name.strip_prefix("file:") {
                None => self.named("the variable", name, name, at, ("references.env", &lists.env_references)),
                Some(path) => {
                    let folder = self.pipeline.file.parent().unwrap_or_else(|| Path::new(""));
                    self.file(path, &folder.join(path), at)
                }
            };
        }
        let of_process = self.files_of_process();
        for file in self.pipeline.connection.iter().filter(|file| !of_process.contains(&file.path)) {
            let at = self.pipeline.spans.brokers;
            refused |= self.file(&file.path.display().to_string(), &file.path, at);
        }
        refused
    }

    /// Whether a value is that of the process's file. Who wrote that one, wrote the policy.
    fn is_of_process(&self, at: Span) -> bool {
        self.pipeline.source.is_of_process(at)
    }

    /// The certificates and keys of the connection that the process's file names.
    fn files_of_process(&self) -> BTreeSet<PathBuf> {
        let kafka = &self.pipeline.kafka;
        let is_of_process = |path: &[&str]| self.at(path).is_some_and(|at| self.is_of_process(at));
        let tls = kafka.tls.as_ref().filter(|_| is_of_process(&["kafka", "tls"]));
        let tls = tls.into_iter().flat_map(|tls| [&tls.ca, &tls.cert, &tls.key]).flatten();
        let passed = kafka.librdkafka.iter().filter(|(key, _)| is_of_process(&["kafka", "librdkafka", key]));
        tls.chain(passed.map(|(_, path)| &path.0)).map(PathBuf::from).collect()
    }

    /// A file that is named like this in the pipeline, and opened at this path. What doesn't exist is compared as it is named.
    fn file(&mut self, name: &str, path: &Path, at: Span) -> bool {
        let value = real(path).unwrap_or_else(|| name.to_owned());
        self.named("the file", name, &value, at, ("references.files", &self.rule.lists.file_references))
    }

    /// Like [`Judge::listed`], for a name that is no secret, unlike what it stands for.
    fn named(&mut self, what: &str, name: &str, value: &str, at: Span, (key, globs): (&str, &Globs)) -> bool {
        if globs.permit(value) {
            return false;
        }
        let message = format!("{what} {} is not permitted", in_backticks(name));
        self.report.add(at, message, self.permitted(key, globs));
        true
    }

    /// Passwords in clear, and brokers that nobody verifies.
    fn security(&mut self) -> bool {
        let is_insecure = self.pipeline.kafka.risks().iter().any(|risk| risk.starts_with("INSECURE"));
        if is_insecure && !self.rule.insecure {
            let at = self.at(&["kafka", "insecure"]).unwrap_or(self.pipeline.spans.brokers);
            self.switched("`insecure`", "insecure", at);
        }
        is_insecure && !self.rule.insecure
    }

    fn grants(&mut self) {
        for (number, settings) in self.pipeline.steps.iter().enumerate() {
            let number = number.to_string();
            let fallback = self.step_at(&number);
            let at = |judge: &Self, key: &[&str]| {
                judge.at(&[&["step", number.as_str(), "allow"], key].concat()).unwrap_or(fallback)
            };
            let step = &settings.name;
            if settings.allow.clock && !self.rule.clock {
                self.switched(&format!("step `{step}`: `allow.clock`"), "allow.clock", at(self, &["clock"]));
            }
            if settings.allow.random && !self.rule.random {
                self.switched(&format!("step `{step}`: `allow.random`"), "allow.random", at(self, &["random"]));
            }
            for (name, _) in settings.allow.env.iter().flatten() {
                let (what, at) = (format!("step `{step}`: the variable"), at(self, &["env", name]));
                self.named(&what, name, name, at, ("allow.env", &self.rule.lists.env));
            }
            self.requests(settings, &at);
            for folder in &settings.allow.files {
                let written = folder.to_string_lossy();
                // A folder that isn't there is compared as it is written.
                let value = real(folder).unwrap_or_else(|| written.clone().into_owned());
                let what = format!("step `{step}`: the folder");
                self.named(&what, &written, &value, at(self, &["files"]), ("allow.files", &self.rule.lists.files));
            }
        }
    }

    fn requests(&mut self, settings: &Settings, at: &impl Fn(&Self, &[&str]) -> Span) {
        let Some(http) = &settings.allow.http else { return };
        let (step, lists) = (&settings.name, &self.rule.lists);
        for origin in http.origins.iter().map(Origin::to_string) {
            let what = format!("step `{step}`: the server");
            self.named(&what, &origin, &origin, at(self, &["http"]), ("allow.http", &lists.http));
        }
        for network in http.networks.iter().map(Network::to_string) {
            let what = format!("step `{step}`: the network");
            self.named(
                &what,
                &network,
                &network,
                at(self, &["http_networks"]),
                ("allow.http_networks", &lists.http_networks),
            );
        }
        for method in &http.methods {
            let what = format!("step `{step}`: the method");
            let place = at(self, &["http_methods"]);
            match &lists.http_methods {
                Some(methods) => self.named(&what, method, method, place, ("allow.http_methods", methods)),
                None if matches!(&**method, "GET" | "HEAD") => false,
                None => self.named(&what, method, method, place, ("allow.http_methods", &Globs::default())),
            };
        }
    }

    fn step_at(&self, number: &str) -> Span {
        let spans = number.parse::<usize>().ok().and_then(|number| self.pipeline.spans.steps.get(number));
        spans.map_or(Span::START, |spans| spans.wasm)
    }

    fn plugins(&mut self) {
        let Some(plugins) = &self.rule.plugins else { return };
        for (settings, spans) in self.pipeline.steps.iter().zip(&self.pipeline.spans.steps) {
            let (demand, place) = (&plugins.demand, self.policy.place(plugins.at));
            let (what, lacks) = match bundled::name(&settings.wasm) {
                // The bytes of a component are looked at where it is loaded.
                None if !(demand.digests.is_empty() && demand.signers.is_empty()) => continue,
                Some(_) if demand.bundled || !demand.digests.is_empty() => continue,
                None => ("a plugin of one's own", "neither `sha256` nor `signed_by`"),
                Some(_) => ("a plugin that comes with wasmill", "no `bundled = true`"),
            };
            let message = format!("step `{}`: {what} is not permitted", settings.name);
            self.report.add(spans.wasm, message, format!("{place}: `plugins` has {lacks}"));
        }
    }

    /// Keys of librdkafka.
    fn keys(&mut self) {
        let kafka = &self.pipeline.kafka;
        let mut tables = vec![(vec!["kafka"], &kafka.librdkafka), (vec!["input"], &kafka.input.librdkafka)];
        tables.extend(kafka.outputs.iter().map(|output| (vec!["output", &*output.name], &output.librdkafka)));
        for (path, keys) in tables {
            for key in keys.keys() {
                let above = self.at(&path).unwrap_or(Span::START);
                let at = self.at(&[&path[..], &["librdkafka", key]].concat()).unwrap_or(above);
                if self.is_of_process(at) {
                    continue;
                }
                self.named("the key of librdkafka", key, key, at, ("librdkafka", &self.rule.lists.librdkafka));
            }
        }
    }

    fn bounds(&mut self) {
        for bound in &self.rule.bounds {
            for (what, path, value) in self.values(bound.key) {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                let written = self.at(&path);
                // After a mistake, a value that isn't written may be misspelt.
                let is_known = written.map_or_else(|| self.before.is_empty(), |at| self.is_meant(at));
                if value <= bound.most || !is_known {
                    continue;
                }
                let at = written.or_else(|| self.at(&path[..path.len().min(2)])).unwrap_or(Span::START);
                let by_default = if written.is_none() { " by default" } else { "" };
                let value = match self.pipeline.is_shown(at) {
                    true => bound.key.in_words(value),
                    false => "***".to_owned(),
                };
                let most = bound.key.in_words(bound.most);
                let help = format!("{}: the rule permits {most} at most", self.policy.place(bound.at));
                self.report.add(at, format!("{what} is {value}{by_default}, which is more than is permitted"), help);
            }
        }
    }

    /// The values of a key: what each is, its path in the file, and the value.
    fn values(&self, key: Bounded) -> Vec<(String, Vec<String>, u64)> {
        let Pipeline { limits, steps, windowed, .. } = self.pipeline;
        let path = |path: &[&str]| path.iter().map(|part| (*part).to_owned()).collect::<Vec<_>>();
        let one = |name: &[&str], value: u64| vec![(format!("`{}`", name.join(".")), path(name), value)];
        let each = |key: &str, value: &dyn Fn(&Settings) -> u64| {
            let of = |(number, step): (usize, &Settings)| {
                (format!("`{key}` of step `{}`", step.name), path(&["step", &number.to_string(), key]), value(step))
            };
            steps.iter().enumerate().map(of).collect::<Vec<_>>()
        };
        match key {
            Bounded::Steps => {
                let native = windowed.as_ref().is_some_and(|windowed| windowed.is_native());
                let steps = steps.len() + usize::from(native);
                vec![("the number of steps".to_owned(), path(&["step", "0", "wasm"]), steps as u64)]
            }
            Bounded::Parallelism => one(&["limits", "parallelism"], limits.parallelism as u64),
            Bounded::Weight => one(&["limits", "weight"], limits.weight as u64),
            Bounded::Records => one(&["limits", "max_in_flight", "records"], limits.max_in_flight_records as u64),
            Bounded::Bytes => one(&["limits", "max_in_flight", "bytes"], limits.max_in_flight_bytes as u64),
            Bounded::Outputs => one(&["limits", "outputs_per_record"], limits.outputs_per_record),
            Bounded::OutputBytes => one(&["limits", "output_bytes_per_record"], limits.output_bytes_per_record),
            Bounded::Rate => {
                let rate = limits.records_per_second.map_or(UNLIMITED, |rate| rate.get().into());
                one(&["limits", "records_per_second"], rate)
            }
            Bounded::Memory => each("memory", &|step| step.memory_bytes),
            Bounded::Timeout => each("timeout", &|step| in_millis(step.timeout.call)),
            Bounded::InitTimeout => each("init_timeout", &|step| in_millis(step.timeout.init)),
            Bounded::Batch => each("batch", &|step| step.batch_records as u64),
            Bounded::StateMemory => {
                windowed.iter().flat_map(|windowed| one(&["state", "memory"], windowed.memory_bytes)).collect()
            }
        }
    }
}

fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Bounded {
    /// A value of the key as it may be written.
    fn in_words(self, value: u64) -> String {
        match self {
            _ if value == UNLIMITED => "unlimited".to_owned(),
            Bounded::Steps
            | Bounded::Parallelism
            | Bounded::Weight
            | Bounded::Records
            | Bounded::Batch
            | Bounded::Outputs
            | Bounded::Rate => value.to_string(),
            Bounded::Bytes | Bounded::Memory | Bounded::StateMemory | Bounded::OutputBytes => show::in_bytes(value),
            Bounded::Timeout | Bounded::InitTimeout => {
                format!("\"{}\"", humantime::format_duration(Duration::from_millis(value)))
            }
        }
    }
}
