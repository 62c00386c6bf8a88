//! A policy file: its globs, its bounds, and what a rule has to have.

use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

use glob::Pattern;
use toml::Spanned;

use super::Check;
use super::plugins;
use super::value;
use crate::config::fields::Read;
use crate::config::interpolate::Secrets;
use crate::config::near::near;
use crate::config::policy::Bound;
use crate::config::policy::Bounded;
use crate::config::policy::Lists;
use crate::config::policy::PluginRule;
use crate::config::policy::PolicyRule;
use crate::config::policy::globs;
use crate::config::policy::globs::Glob;
use crate::config::policy::globs::Globs;
use crate::config::policy::raw::Texts;
use crate::config::policy::raw::Written;
use crate::config::policy::raw::WrittenLimits;
use crate::config::policy::raw::WrittenPlugins;
use crate::config::policy::raw::WrittenRule;
use crate::config::raw::Number;
use crate::config::raw::Size;
use crate::config::raw::Text;
use crate::config::referenced::Referenced;
use crate::config::report::Report;
use crate::config::source::Span;
use crate::plugin::Demand;
use crate::plugin::Signer;

/// The rules of a policy file. Where the report has a finding, they permit less or more than is meant.
pub(in crate::config) fn rules(
    read: Read<Written>,
    referenced: &mut Vec<Referenced>,
    report: &mut Report,
) -> Vec<PolicyRule> {
    let secrets = Secrets::default();
    let check = &mut Check { report, secrets: &secrets, whole: read.whole };
    let Written { signers, rule } = read.raw;
    let known = |(name, key): (&Spanned<String>, &Text)| {
        let signer = plugins::signer(check, key, name.get_ref(), referenced);
        (name.get_ref().clone(), signer)
    };
    let signers: Signers = signers.iter().map(known).collect();
    if rule.is_empty() {
        let help = "write a `[[rule]]` with the `pipelines` that it is for; a pipeline without a rule is refused";
        check.missing(Span::START, "[[rule]]", help);
    }
    rule.into_iter().map(|rule| self::rule(check, rule, &signers)).collect()
}

/// Signers by name; `None` for one whose key was reported.
type Signers = BTreeMap<String, Option<Signer>>;

fn rule(check: &mut Check<'_>, raw: Spanned<WrittenRule>, signers: &Signers) -> PolicyRule {
    let at: Span = raw.span().into();
    let raw = raw.into_inner();
    let needed = |check: &mut Check<'_>, list: &Option<Texts>, key: &str, all: &str| {
        if list.is_none() {
            check.missing(at, &format!("rule.{key}"), &format!("write globs, or `[\"*\"]` for {all}"));
        }
    };
    needed(check, &raw.pipelines, "pipelines", "all pipelines");
    needed(check, &raw.brokers, "brokers", "all brokers");
    needed(check, &raw.topics.read, "topics.read", "all topics");
    needed(check, &raw.topics.write, "topics.write", "all topics");
    needed(check, &raw.groups, "groups", "all groups");
    let is = |switch: &Option<Spanned<bool>>| switch.as_ref().is_some_and(|switch| *switch.get_ref());
    PolicyRule {
        at,
        pipelines: list(check, raw.pipelines.as_ref()),
        files: raw.files.as_ref().map(|files| paths(check, Some(files))),
        lists: Lists {
            brokers: list(check, raw.brokers.as_ref()),
            read: topics(check, raw.topics.read.as_ref()),
            write: list(check, raw.topics.write.as_ref()),
            groups: list(check, raw.groups.as_ref()),
            env_references: list(check, raw.references.env.as_ref()),
            file_references: paths(check, raw.references.files.as_ref()),
            env: list(check, raw.allow.env.as_ref()),
            http: list(check, raw.allow.http.as_ref()),
            http_networks: list(check, raw.allow.http_networks.as_ref()),
            http_methods: raw.allow.http_methods.as_ref().map(|methods| list(check, Some(methods))),
            files: paths(check, raw.allow.files.as_ref()),
            librdkafka: list(check, raw.librdkafka.as_ref()),
        },
        clock: is(&raw.allow.clock),
        random: is(&raw.allow.random),
        insecure: is(&raw.insecure),
        bounds: bounds(check, &raw.limits),
        plugins: raw.plugins.as_ref().map(|plugins| self::plugins(check, plugins, signers)),
    }
}

fn plugins(check: &mut Check<'_>, raw: &Spanned<WrittenPlugins>, signers: &Signers) -> PluginRule {
    let WrittenPlugins { bundled, sha256, signed_by } = raw.get_ref();
    let texts = |texts: &Option<Texts>| texts.iter().flat_map(|texts| texts.get_ref()).cloned().collect::<Vec<_>>();
    let digests = texts(sha256).iter().filter_map(|text| plugins::digest_of(check, text, "plugins.sha256")).collect();
    let mut named = Vec::new();
    for name in texts(signed_by) {
        match signers.get(name.get_ref()) {
            Some(signer) => named.extend(signer.clone()),
            None => {
                let help = match near(name.get_ref(), signers.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name the key under `[signers]`: `team-a = \"keys/team-a.pub\"`".to_owned(),
                };
                check.report.add(name.span().into(), format!("there is no signer `{}`", name.get_ref()), help);
            }
        }
    }
    let place = format!("{}: `plugins`", check.report.place(raw.span().into()));
    let bundled = bundled.as_ref().is_some_and(|bundled| *bundled.get_ref());
    PluginRule { at: raw.span().into(), demand: Demand { place, digests, signers: named, bundled } }
}

/// A list of globs. One that is wrong is reported, and permits nothing.
fn list(check: &mut Check<'_>, raw: Option<&Texts>) -> Globs {
    read_list(raw, |text| glob(check, text, ""))
}

/// Like [`list`]; a text that begins with `^` is a pattern of topics.
fn topics(check: &mut Check<'_>, raw: Option<&Texts>) -> Globs {
    read_list(raw, |text| match text.get_ref().starts_with('^') {
        true => Some(Glob { text: text.get_ref().clone(), pattern: None }),
        false => glob(check, text, ""),
    })
}

/// Like [`list`], for paths: a relative one begins at the file's folder.
fn paths(check: &mut Check<'_>, raw: Option<&Texts>) -> Globs {
    let folder = check.folder(&(0..0));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().unwrap_or_else(|_| PathBuf::from(folder));
    let folder = format!("{}/", Pattern::escape(&folder.display().to_string()));
    read_list(raw, |text| glob(check, text, if text.get_ref().starts_with(['/', '*']) { "" } else { &folder }))
}

fn read_list(raw: Option<&Texts>, read: impl FnMut(&Text) -> Option<Glob>) -> Globs {
    let Some(raw) = raw else { return Globs::default() };
    Globs { at: Some(raw.span().into()), globs: raw.get_ref().iter().filter_map(read).collect() }
}

/// A glob of what is below `above`.
fn glob(check: &mut Check<'_>, raw: &Text, above: &str) -> Option<Glob> {
    let text = raw.get_ref();
    let parsed = globs::parse(text).and_then(|alone| match above {
        "" => Ok(alone),
        above => globs::parse(&format!("{above}{text}")),
    });
    match parsed {
        Ok(pattern) => Some(Glob { text: text.clone(), pattern: Some(pattern) }),
        Err((message, help)) => {
            check.report.add(raw.span().into(), message, help);
            None
        }
    }
}

fn bounds(check: &mut Check<'_>, raw: &WrittenLimits) -> Vec<Bound> {
    let mut bounds = Vec::new();
    let in_flight = &raw.max_in_flight;
    let numbers: [(Option<&Number>, &str, Bounded); 7] = [
        (raw.steps.as_ref(), "limits.steps", Bounded::Steps),
        (raw.parallelism.as_ref(), "limits.parallelism", Bounded::Parallelism),
        (raw.weight.as_ref(), "limits.weight", Bounded::Weight),
        (in_flight.records.as_ref(), "limits.max_in_flight.records", Bounded::Records),
        (raw.batch.as_ref(), "limits.batch", Bounded::Batch),
        (raw.outputs_per_record.as_ref(), "limits.outputs_per_record", Bounded::Outputs),
        (raw.records_per_second.as_ref(), "limits.records_per_second", Bounded::Rate),
    ];
    for (number, name, key) in numbers {
        if let Some((most, number)) = value::number(check, number, name, 1, usize::MAX).zip(number) {
            bounds.push(Bound { key, most: most as u64, at: number.span().into() });
        }
    }
    let sizes: [(Option<&Spanned<Size>>, &str, Bounded); 4] = [
        (in_flight.bytes.as_ref(), "limits.max_in_flight.bytes", Bounded::Bytes),
        (raw.memory.as_ref(), "limits.memory", Bounded::Memory),
        (raw.output_bytes_per_record.as_ref(), "limits.output_bytes_per_record", Bounded::OutputBytes),
        (raw.state_memory.as_ref(), "limits.state_memory", Bounded::StateMemory),
    ];
    for (size, name, key) in sizes {
        if let Some((most, size)) = value::size(check, size, name, 1, 1 << 50).zip(size) {
            bounds.push(Bound { key, most, at: size.span().into() });
        }
    }
    let times = [
        (raw.timeout.as_ref(), "limits.timeout", Bounded::Timeout),
        (raw.init_timeout.as_ref(), "limits.init_timeout", Bounded::InitTimeout),
    ];
    for (text, name, key) in times {
        if let Some((most, text)) = value::duration(check, text, name).zip(text) {
            let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
            bounds.push(Bound { key, most, at: text.span().into() });
        }
    }
    bounds
}
