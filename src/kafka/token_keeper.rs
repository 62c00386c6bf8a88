//! Keeps the token of one source: fetches it when a client asks, and gives it to all clients that use this source.
//!
//! librdkafka asks when a client starts, when four fifths of a token's life are over, and ten seconds after a failure. A thread of the
//! keeper answers, so no client waits for a command or a server. A token is given to others until half of its life is over, so that a new
//! client doesn't need a new token. Invariant: each question is answered, by a token or by the reason why there is none.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::Weak;
use std::sync::mpsc;
use std::time::Duration;
use std::time::Instant;

use super::oidc;
use super::probe::now;
use super::sys::OnTokenNeeded;
use super::sys::TokenParts;
use super::sys::TokenTarget;
use super::token::BearerToken;
use super::token::TokenOrigin;
use super::token::TokenSource;
use super::token_command;
use crate::telemetry;

/// After a failure, questions get its reason for this long without another try. It is less than librdkafka waits before it asks again.
const FAILED: Duration = Duration::from_secs(5);
/// A token that a broker refused is replaced if it is at least this old.
const REFUSED: Duration = Duration::from_secs(10);

/// The keeper of a source's token. Equal sources in one process have the same keeper.
#[derive(Clone)]
pub struct Tokens(Arc<Keeper>);

struct Keeper {
    source: TokenSource,
    /// Of the thread, once there is one. It ends when the last client and the last owner of the keeper are gone.
    inbox: Mutex<Option<mpsc::Sender<Ask>>>,
}

/// A message to the thread.
enum Ask {
    /// This client needs a token.
    For(TokenTarget),
    /// A broker refused the token.
    Renew,
}

/// All keepers of the process. A reloaded file has the one that its clients already use.
static KEEPERS: Mutex<Vec<Weak<Keeper>>> = Mutex::new(Vec::new());

impl Tokens {
    /// The keeper of this source.
    #[must_use]
    pub fn of(source: TokenSource) -> Tokens {
        let mut keepers = KEEPERS.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.retain(|keeper| keeper.strong_count() > 0);
        if let Some(keeper) = keepers.iter().filter_map(Weak::upgrade).find(|keeper| keeper.source == source) {
            return Tokens(keeper);
        }
        let keeper = Arc::new(Keeper { source, inbox: Mutex::default() });
        keepers.push(Arc::downgrade(&keeper));
        Tokens(keeper)
    }

    /// Where the tokens come from.
    #[must_use]
    pub fn source(&self) -> &TokenSource {
        &self.0.source
    }

    /// What a new client calls for its tokens.
    pub(super) fn hook(&self) -> Result<OnTokenNeeded, String> {
        let mut inbox = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match &*inbox {
            Some(sender) => sender.clone(),
            None => {
                let (sender, asks) = mpsc::channel();
                let thread = KeeperThread { source: self.0.source.clone(), clients: Vec::new(), last: None };
                telemetry::spawn("tokens", move || thread.run(&asks))
                    .map_err(|error| format!("failed to start the thread that fetches tokens: {error}"))?;
                inbox.insert(sender).clone()
            }
        };
        // The thread lives as long as there is a sender.
        Ok(OnTokenNeeded(Box::new(move |client| drop(sender.send(Ask::For(client))))))
    }

    /// A broker refused the token: another one is fetched for all clients, unless the last one is very new.
    pub fn renew(&self) {
        if let Some(inbox) = &*self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = inbox.send(Ask::Renew);
        }
    }
}

impl PartialEq for Tokens {
    fn eq(&self, other: &Tokens) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Tokens {}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.0.source).finish()
    }
}

struct KeeperThread {
    source: TokenSource,
    /// The clients that have asked and still exist.
    clients: Vec<TokenTarget>,
    last: Option<Fetched>,
}

/// The last try.
struct Fetched {
    at: Instant,
    /// The same time, in milliseconds since 1970-01-01 UTC.
    at_ms: i64,
    result: Result<BearerToken, String>,
}

impl Fetched {
    /// Whether the result also answers a question at this time.
    fn serves(&self, now: Instant, now_ms: i64) -> bool {
        match &self.result {
            Ok(token) => (self.at_ms..self.at_ms + (token.expires_ms - self.at_ms) / 2).contains(&now_ms),
            Err(_) => now < self.at + FAILED,
        }
    }
}

impl KeeperThread {
    fn run(mut self, inbox: &mpsc::Receiver<Ask>) {
        while let Ok(first) = inbox.recv() {
            let mut waiting = Vec::new();
            let mut is_refused = false;
            for ask in std::iter::once(first).chain(inbox.try_iter()) {
                match ask {
                    Ask::For(client) => waiting.push(client),
                    Ask::Renew => is_refused = true,
                }
            }
            self.answer(waiting, is_refused);
        }
    }

    fn answer(&mut self, waiting: Vec<TokenTarget>, is_refused: bool) {
        self.clients.retain(TokenTarget::is_open);
        for client in &waiting {
            if !self.clients.iter().any(|known| known.is(client)) {
                self.clients.push(client.clone());
            }
        }
        let renews = is_refused && self.last.as_ref().is_none_or(|last| now() >= last.at + REFUSED);
        let waiting = if renews { self.clients.clone() } else { waiting };
        if waiting.is_empty() {
            return;
        }
        let last = self.last.take().filter(|last| !renews && last.serves(now(), now_ms()));
        let last = last.unwrap_or_else(|| {
            let result = fetch(&self.source);
            Fetched { at: now(), at_ms: now_ms(), result }
        });
        for client in &waiting {
            give(&self.source, client, &last.result);
        }
        self.last = Some(last);
    }
}

fn fetch(source: &TokenSource) -> Result<BearerToken, String> {
    let result = match &source.origin {
        TokenOrigin::Command(command) => token_command::output(command, token_command::LIMIT)
            .and_then(|printed| BearerToken::printed(&printed, now_ms()))
            .map_err(|why| format!("the command of `{}` {why}", source.origin.key())),
        TokenOrigin::Oidc(client) => oidc::fetch(client, oidc::LIMIT, now_ms())
            .map_err(|why| format!("the server of `{}` {why}", source.origin.key())),
    };
    match &result {
        Ok(token) => tracing::debug!("a new token for the brokers, for {} s", (token.expires_ms - now_ms()) / 1000),
        Err(why) => tracing::debug!("no new token for the brokers: {}", source.hidden.hide(why)),
    }
    result.map_err(|why| source.hidden.hide(&why))
}

fn give(source: &TokenSource, client: &TokenTarget, result: &Result<BearerToken, String>) {
    let why = match result {
        Ok(BearerToken { value, expires_ms, principal, extensions }) => {
            let parts = TokenParts { value: &value.0, expires_ms: *expires_ms, principal, extensions };
            match client.set(parts) {
                Ok(()) => return,
                // What librdkafka says may contain the token, for a reason that is unknown here.
                Err(_) => format!("`{}` gave a token that the Kafka client doesn't take", source.origin.key()),
            }
        }
        Err(why) => why.clone(),
    };
    client.fail(&why);
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::token::TokenCommand;
    use crate::secret::Hidden;

    fn source(program: &str) -> TokenSource {
        let command = TokenCommand { program: program.into(), arguments: Vec::new() };
        TokenSource { origin: TokenOrigin::Command(command), hidden: Hidden::default() }
    }

    #[test]
    fn equal_sources_have_one_keeper() {
        let (a, b) = (Tokens::of(source("a")), Tokens::of(source("a")));
        assert!(Arc::ptr_eq(&a.0, &b.0) && a == b);
        assert!(a != Tokens::of(source("b")));
    }

    #[test]
    fn a_token_serves_others_for_half_of_its_life_and_a_failure_for_some_seconds() {
        let at = now();
        let token = BearerToken::new("a", 11_000, 1_000).unwrap();
        let good = Fetched { at, at_ms: 1_000, result: Ok(token) };
        assert_eq!([999, 1_000, 5_999, 6_000].map(|now_ms| good.serves(at, now_ms)), [false, true, true, false]);
        let bad = Fetched { at, at_ms: 1_000, result: Err(String::new()) };
        assert!(bad.serves(at + FAILED / 2, 0) && !bad.serves(at + FAILED, 0));
    }
}
