//! Keys planned for later versions, and hints for existing keys.
//!
//! The message for a key of a later version is "not supported yet", because the user didn't misspell it.

/// The message for a key that isn't supported yet, by its path; `*` is the name of an output.
pub(super) fn later(path: &[&str]) -> Option<&'static str> {
    let what = match path {
        ["state", "dir" | "snapshot" | "standby" | "replication" | "on_offset_mismatch"] => {
            "state is restored from its changelog topic"
        }
        ["log", ..] => "`WASMILL_LOG` and `--log-format` set the log",
        ["step", "build"] => "build the plugin beforehand, with `wasmill build`",
        ["step", "ttl" | "table" | "repartition"] => "there are windows, and no other state",
        ["http", "admin_token"] => "nothing can be changed over HTTP",
        _ => return None,
    };
    Some(what)
}

/// What to write instead of a value with the wrong type.
pub(super) fn hint(path: &[&str]) -> &'static str {
    match path {
        ["kafka", "brokers"] => "write it as a list: `brokers = [\"localhost:9092\"]`",
        ["plugins", "keys"] => "write it as a list: `keys = [\"team-a.pub\"]`",
        ["input", "topics"] => "write it as a list: `topics = [\"orders\"]`",
        ["step", "allow", "env"] => "write `env = { REGION = \"eu-1\" }`",
        ["step", "allow", "http"] => "write it as a list: `http = [\"https://tiers.internal\"]`",
        ["step", "allow", "http_methods"] => "write it as a list: `http_methods = [\"GET\"]`",
        ["step", "allow", "http_networks"] => "write it as a list: `http_networks = [\"10.0.0.0/8\"]`",
        ["step", "allow", "files"] => "write it as a list: `files = [\"/etc/tiers:ro\"]`",
        ["step", "allow"] => "write `allow = { clock = true }`",
        ["step"] => "a step's header has two brackets: `[[step]]`",
        ["output", "*", "topic"] => "an output writes one topic: `topic = \"orders.clean\"`",
        ["output", "*"] => "an output has a name: `[output.main]`",
        ["kafka", "tls"] => "write `tls = true`, or `tls = { ca = \"/etc/pki/ca.pem\" }`",
        ["kafka", "sasl", "token_command"] => "write it as a list: `token_command = [\"./token.sh\", \"eu-1\"]`",
        ["kafka", "sasl", "oidc"] => {
            "write `oidc = { url = \"https://..\", client_id = \"..\", client_secret = \"${file:..}\" }`"
        }
        ["kafka", "sasl"] => "write `sasl = { mechanism = \"PLAIN\", username = \"..\", password = \"..\" }`",
        ["shutdown_timeout"]
        | ["step", "timeout" | "init_timeout"]
        | ["limits", "commit_every" | "drain_timeout" | "transaction_every"]
        | ["input", "session_timeout" | "max_poll_interval"]
        | ["on_error", "backoff", "from" | "to"] => "write a time with its unit, such as \"5s\" or \"200ms\"",
        ["limits", "max_in_flight"] => "write `max_in_flight = { records = 25_000, bytes = \"64 MiB\" }`",
        ["on_error", "backoff"] => "write `backoff = { from = \"100ms\", to = \"10s\" }`",
        ["limits", "parallelism" | "weight" | "outputs_per_record" | "records_per_second"]
        | ["limits", "max_in_flight", "records"]
        | ["step", "batch"] => "write a whole number",
        _ => "",
    }
}
