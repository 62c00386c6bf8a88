//! Tests that the committed bindings are current, by generating them again from the contract.
//!
//! The bindings are committed so that a plugin doesn't compile the generator's crates. `cargo xtask docs` regenerates them.

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs;
    use std::path::Path;

    use wit_bindgen_core::Files;
    use wit_bindgen_core::WorldGenerator as _;
    use wit_bindgen_core::wit_parser::Resolve;
    use wit_bindgen_rust::Opts;
    use wit_bindgen_rust::WithOption;

    /// The versions of the contract.
    const V1: &str = "../wit/v1";
    const V1_1: &str = "../wit/v1.1";
    const V1_2: &str = "../wit/v1.2";

    /// The interfaces that 1.1 has from 1.0: the SDK has one type for both. Its imports `log` and `metrics` are those of 1.0 in every world.
    const SHARED: [(&str, &str); 2] = [
        ("wasmill:plugin/types@1.1.0", "crate::bindings::wasmill::plugin::types"),
        ("wasmill:plugin/columns@1.1.0", "crate::bindings::wasmill::plugin::columns"),
    ];

    /// Generated code is exempt from the workspace's lints. Not every file violates each of these.
    const LINTS: &str = "\
#![allow(
    unreachable_pub,
    unused_qualifications,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = \"generated\"
)]";

    /// A committed file with bindings.
    struct Bindings {
        /// The file, relative to the workspace of the plugins.
        file: &'static str,
        /// The first line of the file, after `//! `.
        head: &'static str,
        contract: &'static str,
        /// The package with the world, if that isn't the contract itself.
        wit: Option<&'static str>,
        world: &'static str,
        options: fn() -> Opts,
    }

    const ALL: [Bindings; 8] = [
        Bindings {
            file: "sdk/src/bindings/plugin.rs",
            head: "The bindings of the columnar world of the contract, with its two optional imports.",
            contract: V1,
            wit: Some(
                "
                package wasmill:sdk;

                world plugin {
                    include wasmill:plugin/transform-batch@1.0.0;
                    import wasmill:plugin/log@1.0.0;
                    import wasmill:plugin/metrics@1.0.0;
                }
            ",
            ),
            world: "wasmill:sdk/plugin",
            options: || Opts {
                runtime_path: Some("crate::bindings::runtime".to_owned()),
                pub_export_macro: true,
                default_bindings_module: Some("wasmill_sdk::bindings".to_owned()),
                ..Opts::default()
            },
        },
        Bindings {
            file: "sdk/src/bindings/reducer.rs",
            head: "The bindings of the world `reduce` of the contract.",
            contract: V1_1,
            wit: Some(
                "
                package wasmill:sdk;

                world reducer {
                    include wasmill:plugin/reduce@1.1.0;
                }
            ",
            ),
            world: "wasmill:sdk/reducer",
            options: || of_1_1("wasmill_sdk::bindings::reducer"),
        },
        Bindings {
            file: "sdk/src/bindings/keyer.rs",
            head: "The bindings of what the world `reduce-by` of the contract has besides `reduce`.",
            contract: V1_1,
            wit: Some(
                "
                package wasmill:sdk;

                world keyer {
                    export wasmill:plugin/keyer@1.1.0;
                }
            ",
            ),
            world: "wasmill:sdk/keyer",
            options: || of_1_1("wasmill_sdk::bindings::keyer"),
        },
        Bindings {
            file: "sdk/src/bindings/grants.rs",
            head: "The bindings of what a step's `allow` may give a plugin: the functions of WASI that `crate::grants` calls.",
            contract: V1,
            wit: Some(
                "
                package wasmill:grants;

                world grants {
                    import wasi:clocks/wall-clock@0.2.0;
                    import wasi:clocks/monotonic-clock@0.2.0;
                    import wasi:random/random@0.2.0;
                    import wasi:cli/environment@0.2.0;
                }

                package wasi:clocks@0.2.0 {
                    interface wall-clock {
                        record datetime {
                            seconds: u64,
                            nanoseconds: u32,
                        }
                        now: func() -> datetime;
                    }
                    interface monotonic-clock {
                        now: func() -> u64;
                    }
                }

                package wasi:random@0.2.0 {
                    interface random {
                        get-random-u64: func() -> u64;
                    }
                }

                package wasi:cli@0.2.0 {
                    interface environment {
                        get-environment: func() -> list<tuple<string, string>>;
                    }
                }
            ",
            ),
            world: "wasmill:grants/grants",
            options: || Opts { runtime_path: Some("crate::bindings::runtime".to_owned()), ..Opts::default() },
        },
        Bindings {
            file: "sdk/src/bindings/files.rs",
            head: "The bindings of the files that a step's `allow` may grant, as `crate::files` reads them.",
            contract: V1,
            wit: Some(include_str!("files.wit")),
            world: "wasmill:files/files",
            options: || Opts { runtime_path: Some("crate::bindings::runtime".to_owned()), ..Opts::default() },
        },
        Bindings {
            file: "sdk/src/bindings/http.rs",
            head: "The bindings of the HTTP requests that a step's `allow` may grant, as `crate::http` makes them.",
            contract: V1,
            wit: Some(include_str!("http.wit")),
            world: "wasmill:http/http",
            options: || Opts { runtime_path: Some("crate::bindings::runtime".to_owned()), ..Opts::default() },
        },
        Bindings {
            file: "sdk/src/bindings/topics.rs",
            head: "The bindings of the optional import with which outputs name their topics.",
            contract: V1_2,
            wit: Some(
                "
                package wasmill:sdk;

                world topics {
                    import wasmill:plugin/topics@1.2.0;
                }
            ",
            ),
            world: "wasmill:sdk/topics",
            options: || Opts { runtime_path: Some("crate::bindings::runtime".to_owned()), ..Opts::default() },
        },
        Bindings {
            file: "typed/src/bindings.rs",
            head: "The bindings of the typed world of the contract.",
            contract: V1,
            wit: None,
            world: "transform",
            options: Opts::default,
        },
    ];

    /// The options of a world of 1.1 whose bindings are in `module`.
    fn of_1_1(module: &str) -> Opts {
        let with = |(interface, path): (&str, &str)| (interface.to_owned(), WithOption::Path(path.to_owned()));
        Opts {
            runtime_path: Some("crate::bindings::runtime".to_owned()),
            pub_export_macro: true,
            default_bindings_module: Some(module.to_owned()),
            with: SHARED.into_iter().map(with).collect(),
            ..Opts::default()
        }
    }

    fn generated(bindings: &Bindings, plugins: &Path) -> Result<String, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error:#}", bindings.file);
        let mut resolve = Resolve::default();
        let contract = plugins.join(bindings.contract);
        let (contract, _) = resolve.push_path(contract).map_err(|error| failed(&error))?;
        let package = match bindings.wit {
            Some(wit) => resolve.push_str("world.wit", wit).map_err(|error| failed(&error))?,
            None => contract,
        };
        let world = resolve.select_world(&[package], Some(bindings.world)).map_err(|error| failed(&error))?;
        let options = Opts { format: true, generate_all: true, ..(bindings.options)() };
        let mut files = Files::default();
        options.build().generate(&mut resolve, world, &mut files).map_err(|error| failed(&error))?;
        let (_, text) = files.iter().next().ok_or_else(|| failed(&"nothing was generated"))?;
        let text = std::str::from_utf8(text).map_err(|error| failed(&error))?;
        Ok(format!("//! {} Generated, and as long as the generator makes it.\n\n{LINTS}\n\n{text}", bindings.head))
    }

    #[test]
    fn the_committed_bindings_match_the_contract() {
        let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let bless = env::var_os("WASMILL_BLESS").is_some();
        let mut old = Vec::new();
        for bindings in &ALL {
            let text = generated(bindings, &plugins).unwrap();
            let path = plugins.join(bindings.file);
            if bless {
                fs::write(&path, text).unwrap();
            } else if fs::read_to_string(&path).unwrap_or_default() != text {
                old.push(bindings.file);
            }
        }
        assert!(old.is_empty(), "not what the contract says: {}; `cargo xtask docs` writes them again", old.join(", "));
    }
}
