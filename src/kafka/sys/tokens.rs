//! UNSAFE. Tokens of OAUTHBEARER: librdkafka asks for one when a client starts, and before one expires.
//!
//! JUSTIFICATION: the binding asks on the thread that polls, which would wait for the token.
//!
//! The question comes in a callback on librdkafka's own thread for such things, and is only passed on: whoever answers does so
//! later, from any thread, through a [`TokenTarget`]. Until then the client connects to no broker. Invariant: a target's
//! handle is alive, or gone: [`TokenTarget::close`] waits for an answer that is being given, and comes before the client is destroyed.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use rdkafka_sys as rd;

use super::client::CallbackData;
use super::errors::Error;
use super::text::text;

/// Called when a client needs a token. It must not wait; every question needs an answer, because librdkafka asks again only
/// after one. A panic in it aborts the process.
pub(crate) struct OnTokenNeeded(pub(crate) Box<dyn Fn(TokenTarget) + Send + Sync>);

/// A token in the form that librdkafka takes.
#[derive(Clone, Copy)]
pub(crate) struct TokenParts<'a> {
    /// Printable ASCII without spaces: librdkafka's message about any other text would contain it.
    pub(crate) value: &'a str,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) expires_ms: i64,
    pub(crate) principal: &'a str,
    pub(crate) extensions: &'a [(String, String)],
}

/// A client that needs tokens, as long as it exists.
#[derive(Clone)]
pub(crate) struct TokenTarget(Arc<Mutex<Live>>);

struct Live(Option<NonNull<rd::rd_kafka_t>>);

// SAFETY: rdkafka.h: "librdkafka is completely thread-safe".
unsafe impl Send for Live {}

/// What the callback needs.
pub(super) struct TokenNeed {
    ask: OnTokenNeeded,
    target: TokenTarget,
}

impl fmt::Debug for TokenNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenNeed")
    }
}

impl TokenNeed {
    pub(super) fn new(ask: OnTokenNeeded) -> TokenNeed {
        TokenNeed { ask, target: TokenTarget(Arc::new(Mutex::new(Live(None)))) }
    }

    /// Makes librdkafka ask through the callback.
    ///
    /// # Safety
    /// `conf` is alive, and its opaque is the [`CallbackData`] that holds this value, which outlives the client.
    pub(super) unsafe fn hook(&self, conf: *mut rd::rd_kafka_conf_t) {
        // SAFETY: the caller's promise.
        unsafe {
            rd::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(ask_for_token));
            rd::rd_kafka_conf_enable_sasl_queue(conf, 1 as c_int);
        }
    }

    /// Lets the questions come, on a thread of librdkafka that serves nothing else.
    ///
    /// # Safety
    /// `handle` is a new client that was made with the hooked configuration. [`TokenNeed::close`] comes before its end.
    pub(super) unsafe fn open(&self, handle: NonNull<rd::rd_kafka_t>) -> Result<(), Error> {
        self.target.live().0 = Some(handle);
        // SAFETY: the caller's promise; the returned error is ours.
        unsafe { Error::take(rd::rd_kafka_sasl_background_callbacks_enable(handle.as_ptr())) }
    }

    /// Nobody answers after this.
    pub(super) fn close(&self) {
        self.target.live().0 = None;
    }
}

impl TokenTarget {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client still exists.
    pub(crate) fn is_open(&self) -> bool {
        self.live().0.is_some()
    }

    /// Whether both are the same client.
    pub(crate) fn is(&self, other: &TokenTarget) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Gives a token to the client, if it still exists. The error is librdkafka's reason not to take it.
    pub(crate) fn set(&self, token: TokenParts<'_>) -> Result<(), String> {
        let c = |text: &str| CString::new(text).map_err(|_| "it holds a NUL byte".to_owned());
        let (value, principal) = (c(token.value)?, c(token.principal)?);
        let pairs = token.extensions.iter().flat_map(|(key, value)| [key, value]);
        let extensions = pairs.map(|text| c(text)).collect::<Result<Vec<CString>, String>>()?;
        let mut pointers: Vec<*const c_char> = extensions.iter().map(|text| text.as_ptr()).collect();
        let mut reason = [0 as c_char; 512];
        let live = self.live();
        let Some(handle) = live.0 else { return Ok(()) };
        // SAFETY: the lock keeps the client alive. All strings outlive the call, which copies them; the reason is as long as is said.
        unsafe {
            let code = rd::rd_kafka_oauthbearer_set_token(
                handle.as_ptr(),
                value.as_ptr(),
                token.expires_ms,
                principal.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                reason.as_mut_ptr(),
                reason.len(),
            );
            if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                Ok(())
            } else {
                Err(text(reason.as_ptr()))
            }
        }
    }

    /// Tells the client why there is no token. It keeps the one that it has, reports the reason as an event if it is a new one, and
    /// asks again after ten seconds.
    pub(crate) fn fail(&self, reason: &str) {
        let reason = CString::new(reason.replace('\0', " ")).unwrap_or_default();
        let live = self.live();
        if let Some(handle) = live.0 {
            // SAFETY: the lock keeps the client alive, and the text outlives the call, which copies it.
            unsafe { rd::rd_kafka_oauthbearer_set_token_failure(handle.as_ptr(), reason.as_ptr()) };
        }
    }
}

/// Passes a question on. Runs on librdkafka's thread for such callbacks, which ends before the client does.
unsafe extern "C" fn ask_for_token(_client: *mut rd::rd_kafka_t, _config: *const c_char, opaque: *mut c_void) {
    // SAFETY: `opaque` is the client's data, which lives until the client is destroyed.
    let data = unsafe { &*opaque.cast::<CallbackData>() };
    if let Some(need) = &data.tokens {
        (need.ask.0)(need.target.clone());
    }
}
