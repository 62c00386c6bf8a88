//! A loaded step of a pipeline: its plugin is read, checked, compiled and linked, and can be instantiated.
//!
//! A step never changes; a new version of its plugin is a new step.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::failure::Failure;
use crate::failure::Kind;
use crate::plugin::Settings;
use crate::plugin::artifact;
use crate::plugin::artifact::ArtifactError;
use crate::plugin::bundled;
use crate::plugin::contract::Linked;
use crate::plugin::deadline::TICK;
use crate::plugin::engine::Engine;
use crate::plugin::file;
use crate::plugin::grants::Grant;
use crate::plugin::host;
use crate::plugin::host::Client;
use crate::plugin::host::Granted;
use crate::plugin::host::Host;
use crate::plugin::host::LogGate;
use crate::plugin::host::Names;
use crate::plugin::host::PluginName;
use crate::plugin::host::WasiState;
use crate::plugin::instance::Instance;
use crate::plugin::limiter::Limiter;
use crate::plugin::manifest::Manifest;
use crate::plugin::manifest::StateVersions;
use crate::plugin::trust;
use crate::plugin::world;
use crate::plugin::world::World;

/// A loaded step. Cheap to clone; clones share the compiled code and the limits of log and metrics.
#[derive(Clone)]
pub struct Step {
    inner: Arc<Inner>,
    rehearsal: bool,
}

struct Inner {
    settings: Arc<Settings>,
    digest: Arc<str>,
    plugin: Arc<PluginName>,
    manifest: Option<Manifest>,
    needs: BTreeSet<Grant>,
    compile_time: Duration,
    world: World,
    engine: Engine,
    linked: Linked,
    /// What its instances send their requests with, if they may.
    client: Option<Arc<Client>>,
    log: Arc<LogGate>,
    names: Arc<Names>,
}

/// Why a step can't be loaded. The text says what is wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("step `{step}`: read {}: {source}", path.display())]
    Read {
        /// The step.
        step: Arc<str>,
        /// Its file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file has other bytes than are demanded.
    #[error("step `{step}`: {}: {reason}", path.display())]
    Untrusted {
        /// The step.
        step: Arc<str>,
        /// Its file.
        path: PathBuf,
        /// Which demand isn't met, and what to do.
        reason: String,
    },
    /// The file isn't a plugin for this step.
    #[error("step `{step}`: {}: {problem}", path.display())]
    Artifact {
        /// The step.
        step: Arc<str>,
        /// Its file.
        path: PathBuf,
        /// The reason.
        problem: ArtifactError,
    },
    /// The plugin passed every check but can't be compiled or linked.
    #[error("step `{step}`: {}: compile: {reason}", path.display())]
    Compile {
        /// The step.
        step: Arc<str>,
        /// Its file.
        path: PathBuf,
        /// The reason, and what to do.
        reason: String,
    },
    /// Its HTTP requests can't be prepared.
    #[error("step `{step}`: prepare its HTTP requests: {source}")]
    Http {
        /// The step.
        step: Arc<str>,
        /// The reason.
        source: io::Error,
    },
}

impl Step {
    /// Reads, checks and compiles the step's plugin. A large plugin may take seconds. No guest code runs.
    ///
    /// # Errors
    /// If the file can't be read or isn't a plugin that this step can run.
    pub fn load(engine: &Engine, settings: Settings) -> Result<Step, LoadError> {
        let log = LogGate::new(Arc::clone(&settings.name), engine.clock().ticks());
        Step::load_with(engine, settings, log, Arc::new(Names::new()))
    }

    /// Loads another version of the step, from its file and with these settings. The limits of log lines and metric
    /// names apply to all versions together.
    ///
    /// # Errors
    /// Like [`Step::load`]. This step stays unchanged.
    pub fn reload(&self, settings: Settings) -> Result<Step, LoadError> {
        Step::load_with(&self.inner.engine, settings, Arc::clone(&self.inner.log), Arc::clone(&self.inner.names))
    }

    fn load_with(engine: &Engine, settings: Settings, log: Arc<LogGate>, names: Arc<Names>) -> Result<Step, LoadError> {
        let _awake = engine.clock().ticks().keep();
        let began = engine.clock().ticks().now();
        let bytes = match file::read(&settings.wasm) {
            Ok(bytes) => bytes,
            Err(source) => return Err(LoadError::Read { step: settings.name, path: settings.wasm, source }),
        };
        if let Err(reason) = trust::verify(&settings.demands, &settings.wasm, &bytes) {
            return Err(LoadError::Untrusted { step: settings.name, path: settings.wasm, reason });
        }
        let opened =
            artifact::open(&bytes).and_then(|artifact| Ok((artifact.program(&settings.allow)?, artifact.inspection)));
        let ((program, track, world), inspection) = match opened {
            Ok(opened) => opened,
            Err(problem) => return Err(LoadError::Artifact { step: settings.name, path: settings.wasm, problem }),
        };
        let waits = |grant| matches!(grant, Grant::Http | Grant::Files);
        let may_wait =
            inspection.imports.iter().filter_map(|import| import.needs.grant()).any(waits) && settings.allow.may_wait();
        let client = match settings.allow.http.clone() {
            Some(grant) => match Client::new(grant, host::system_lookup()) {
                Ok(client) => Some(Arc::new(client)),
                Err(source) => return Err(LoadError::Http { step: settings.name, source }),
            },
            None => None,
        };
        let compiled = engine.compiler().compile(engine.engines(), &program).and_then(|compiled| {
            let linked = Linked::new(engine.linker(), compiled, track, world, may_wait);
            linked.map_err(|error| {
                let functions = world::side_by_side(&inspection.exports);
                format!("{error:#}; build it again with current tools\n{functions}")
            })
        });
        let linked = match compiled {
            Ok(linked) => linked,
            Err(reason) => return Err(LoadError::Compile { step: settings.name, path: settings.wasm, reason }),
        };
        let ticks = engine.clock().ticks().now().saturating_sub(began);
        let plugin = PluginName { name: named(&settings, inspection.manifest.as_ref()), version: inspection.version };
        Ok(Step {
            inner: Arc::new(Inner {
                settings: Arc::new(settings),
                digest: inspection.digest.into(),
                plugin: Arc::new(plugin),
                manifest: inspection.manifest,
                needs: inspection.imports.iter().filter_map(|import| import.needs.grant()).collect(),
                compile_time: TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)),
                world,
                engine: engine.clone(),
                linked,
                client,
                log,
                names,
            }),
            rehearsal: false,
        })
    }

    /// The settings that it was loaded with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The SHA-256 of its file, in hexadecimal.
    #[must_use]
    pub fn digest(&self) -> &Arc<str> {
        &self.inner.digest
    }

    /// The version in its file; empty if there is none.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.inner.plugin.version
    }

    /// The plugin's name: that of its manifest, or else of its file.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.inner.plugin.name
    }

    /// The plugin's manifest.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.inner.manifest.as_ref()
    }

    /// The world that its plugin implements.
    #[must_use]
    pub fn world(&self) -> World {
        self.inner.world
    }

    /// The versions of its plugin's state, from the manifest.
    #[must_use]
    pub fn state(&self) -> Option<&StateVersions> {
        self.inner.manifest.as_ref()?.state.as_ref()
    }

    /// Whether its plugin imports something that this grant provides.
    #[must_use]
    pub fn uses(&self, grant: Grant) -> bool {
        self.inner.needs.contains(&grant)
    }

    /// How long reading, checking and compiling took.
    #[must_use]
    pub fn compile_time(&self) -> Duration {
        self.inner.compile_time
    }

    /// The clock of deadlines. If it stops, deadlines are no longer enforced.
    #[must_use]
    pub fn ticks(&self) -> u64 {
        self.inner.engine.clock().ticks().now()
    }

    /// Takes the number of lines that guests wrote since the last call, including suppressed ones: by level, `trace`
    /// first.
    #[must_use]
    pub fn take_logged(&self) -> [u64; 5] {
        self.inner.log.take_counts()
    }

    /// Takes the number of HTTP requests since the last call: those that got a response, that were refused, and that failed.
    #[must_use]
    pub fn take_requests(&self) -> [u64; 3] {
        self.inner.client.as_ref().map_or([0; 3], |client| client.take_counts())
    }

    /// The same step for test cases: its plugin always sees the same time, and each instance gets the same random
    /// numbers, so that results are reproducible.
    #[must_use]
    pub fn rehearsal(&self) -> Step {
        Step { inner: Arc::clone(&self.inner), rehearsal: true }
    }

    /// Creates an instance and calls its `init` with the step's settings and ports.
    ///
    /// # Errors
    /// [`crate::failure::Kind::Error`] with the plugin's own text if `init` refuses, otherwise the failure.
    pub fn instantiate(&self) -> Result<Instance, Failure> {
        let inner = &*self.inner;
        let (log, names) = (Arc::clone(&inner.log), Arc::clone(&inner.names));
        let given = WasiState::new(&inner.settings.allow, self.rehearsal);
        let granted = match inner.linked.may_wait() {
            true => Some(Box::new(self.granted().map_err(|error| {
                Failure::new(Kind::Error, Some(Arc::clone(&inner.settings.name)), format!("instantiate: {error}"))
            })?)),
            false => None,
        };
        let limiter = Limiter::new(inner.settings.memory_bytes, inner.engine.memory());
        let ports = inner.settings.ports.len();
        let host = Host::new(limiter, ports, given, granted, log, Arc::clone(&inner.plugin), names);
        Instance::new(&inner.engine, &inner.settings, &inner.linked, host)
    }

    fn granted(&self) -> io::Result<Granted> {
        let runtime = self.inner.engine.runtime()?;
        Granted::new(&self.inner.settings.allow, self.rehearsal, self.inner.client.clone(), runtime)
    }
}

/// A plugin without a manifest is named after its file.
fn named(settings: &Settings, manifest: Option<&Manifest>) -> String {
    match (manifest, bundled::name(&settings.wasm)) {
        (Some(manifest), _) => manifest.name.clone(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => settings.wasm.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("name", &self.inner.settings.name).finish_non_exhaustive()
    }
}
