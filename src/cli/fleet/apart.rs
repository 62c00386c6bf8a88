//! What several pipelines of one process must not share, and what they have to.

use std::net::SocketAddr;

use crate::cli::exit_code::Exit;
use crate::config;
use crate::config::Span;

/// Refuses two pipelines with one name, or with one consumer group.
pub(super) fn apart(pipelines: &[&config::Pipeline]) -> Result<(), Exit> {
    let name = |pipeline: &config::Pipeline| (pipeline.name.clone(), pipeline.spans.name);
    let group = |pipeline: &config::Pipeline| {
        (pipeline.kafka.input.group.clone(), pipeline.spans.group.or(pipeline.spans.name))
    };
    for (number, one) in pipelines.iter().enumerate() {
        for before in &pipelines[..number] {
            let of_both = |of: &dyn Fn(&config::Pipeline) -> (String, Option<Span>)| [of(before), of(one)];
            let [(first, at), (second, here)] = of_both(&name);
            if first == second {
                let what = "metrics, probes and log lines are told apart by it: set another `name`";
                return Err(doubled("name", &first, (before, at), (one, here), what));
            }
            let [(first, at), (second, here)] = of_both(&group);
            if first == second {
                let what = "each would get a part of the other's records: set another `input.group`";
                return Err(doubled("consumer group", &first, (before, at), (one, here), what));
            }
        }
    }
    Ok(())
}

fn doubled(
    what: &str,
    value: &str,
    (first, at): (&config::Pipeline, Option<Span>),
    (second, here): (&config::Pipeline, Option<Span>),
    help: &str,
) -> Exit {
    let [first, second] = [(first, at), (second, here)].map(|(pipeline, span)| pipeline.place(span));
    Exit::Invalid(format!("{second}: the {what} `{value}` is also that of {first}; {help}"))
}

/// The address of metrics and probes, which has to be the same in all files.
pub(super) fn address(pipelines: &[&config::Pipeline]) -> Result<SocketAddr, Exit> {
    let (first, others) = pipelines.split_first().ok_or_else(|| Exit::Bug("there is no pipeline".to_owned()))?;
    match others.iter().find(|other| other.http != first.http) {
        None => Ok(first.http),
        Some(other) => {
            let [one, two] = [first, other].map(|pipeline| pipeline.place(pipeline.spans.http));
            Err(Exit::Invalid(format!(
                "{two}: metrics and probes would listen on {}, and by {one} on {}: a process has one address for all pipelines; leave \
                 `http.listen` out, or name the address with --http",
                other.http, first.http
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A pipeline with this name, group and address in a file of the folder.
    fn pipeline(folder: &Path, file: &str, text: &str) -> config::Pipeline {
        let path = folder.join(file);
        let rest = "[kafka]\nbrokers = [\"a:9092\"]\n[[step]]\nuse = \"std:mask\"\nsettings = { fields = [\"/a\"] }\n\
                    [output.main]\ntopic = \"out\"\n";
        fs::write(&path, format!("{text}\n{rest}")).unwrap();
        config::examine(&path, &config::Overrides::default(), &|_| None).valid().map_err(|e| e.to_string()).unwrap()
    }

    #[test]
    fn two_pipelines_with_one_name_or_group_are_refused_with_both_places() {
        let folder = tempfile::tempdir().unwrap();
        let of = |file: &str, text: &str| pipeline(folder.path(), file, text);
        let input = "input.topics = [\"in\"]";
        let orders = of("orders.toml", input);
        let refused =
            |one: &config::Pipeline, two: &config::Pipeline| apart(&[one, two]).unwrap_err().message().to_owned();
        let same_name = of("b.toml", &format!("{input}\nname = \"orders\"\ninput.group = \"g\""));
        let message = refused(&orders, &same_name);
        assert!(
            message.contains("b.toml:2: the name `orders` is also that of ") && message.contains("orders.toml; "),
            "{message}"
        );
        let same_group = of("c.toml", &format!("name = \"c\"\n{input}\ninput.group = \"orders\""));
        let message = refused(&same_group, &orders);
        assert!(message.contains("orders.toml: the consumer group `orders` is also that of "), "{message}");
        assert!(message.contains("c.toml:3; ") && message.ends_with("set another `input.group`"), "{message}");
        assert!(apart(&[&orders, &of("d.toml", input)]).is_ok());
    }

    #[test]
    fn the_address_of_metrics_is_that_of_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let of = |file: &str, text: &str| pipeline(folder.path(), file, text);
        let [one, two] = ["a.toml", "b.toml"].map(|file| of(file, "input.topics = [\"in\"]"));
        assert_eq!(address(&[&one, &two]).unwrap().port(), 9108);
        let other = of("c.toml", "input.topics = [\"in\"]\nhttp.listen = \"127.0.0.1:9200\"");
        let message = address(&[&one, &other]).unwrap_err().message().to_owned();
        assert!(message.contains("c.toml:2: metrics and probes would listen on 127.0.0.1:9200"), "{message}");
        assert!(message.contains("a.toml on 127.0.0.1:9108"), "{message}");
    }
}
