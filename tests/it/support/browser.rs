//! Chromium without a window, for the page: a user who looks, presses keys and buttons, and answers dialogs. It is spoken to by the DevTools
//! protocol over a pipe, so no port is open.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::process::ChildStdin;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use crate::kafka;
use crate::support::clock;

/// How long an answer of the browser, or something on the page, may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Chromium reads orders from descriptor 3 and writes answers to 4. It writes logs to stderr. Without the sandbox it runs as root.
const START: &str = "exec chromium --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run \
                     --disable-background-networking --disable-component-update --remote-debugging-pipe \
                     --user-data-dir=\"$1\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null";

/// A browser with one tab. It is killed when dropped.
pub(crate) struct Browser {
    child: Child,
    orders: ChildStdin,
    messages: mpsc::Receiver<Value>,
    sent: u64,
    session: Option<String>,
    /// What dialogs said. Each was accepted.
    pub(crate) dialogs: Vec<String>,
    /// What was requested, from anywhere.
    pub(crate) requests: Vec<String>,
    /// What went wrong in scripts, or was refused by the page's policy.
    pub(crate) errors: Vec<String>,
    _folder: TempDir,
}

impl Browser {
    /// Starts the browser.
    ///
    /// # Panics
    /// If there is no `chromium`.
    pub(crate) fn start() -> Browser {
        let folder = tempfile::tempdir().unwrap();
        let mut command = kafka::bound(Path::new("sh"));
        command.args(["-c", START, "sh"]).arg(folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let (sender, messages) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            while answers.read_until(0, &mut bytes).is_ok_and(|read| read > 0) {
                bytes.pop();
                let message = serde_json::from_slice(&bytes).unwrap_or_default();
                if sender.send(message).is_err() {
                    return;
                }
                bytes.clear();
            }
        });
        let orders = child.stdin.take().unwrap();
        let (dialogs, requests, errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut browser =
            Browser { child, orders, messages, sent: 0, session: None, dialogs, requests, errors, _folder: folder };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Network", "Log", "Accessibility"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens a page and waits until it is there.
    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({ "url": url }));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        let there = format!("document.readyState === 'complete' && location.href === {}", json!(url));
        self.wait(&format!("{url} to be there"), &there);
    }

    /// The value of an expression on the page.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true on the page.
    pub(crate) fn wait(&mut self, what: &str, expression: &str) {
        clock::wait_until(what, LIMIT, || self.eval(expression) == true);
    }

    /// What a reader sees of the first element that fits a selector; empty if there is none.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText ?? ''", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key, such as `Tab` or `Enter`.
    pub(crate) fn press(&mut self, key: &str, code: u32, text: &str) {
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Moves the focus by `Tab` to the element that fits a selector, and presses `Enter` there.
    ///
    /// # Panics
    /// If the keyboard can't reach it.
    pub(crate) fn enter(&mut self, selector: &str) {
        let focused = format!("document.activeElement?.matches({}) ?? false", json!(selector));
        for _ in 0..100 {
            if self.eval(&focused) == true {
                return self.press("Enter", 13, "\r");
            }
            self.press("Tab", 9, "");
        }
        panic!("the keyboard doesn't reach {selector}");
    }

    /// Clicks on the first element that fits a selector.
    pub(crate) fn click(&mut self, selector: &str) {
        self.eval(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Sets the size of the window, in pixels, and whether its user prefers dark colours.
    pub(crate) fn look(&mut self, width: u32, height: u32, is_dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// The window as a PNG.
    pub(crate) fn screenshot(&mut self) -> Vec<u8> {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        STANDARD.decode(shot["data"].as_str().unwrap()).unwrap()
    }

    /// The names that a screen reader says for the elements of a role.
    pub(crate) fn names(&mut self, role: &str) -> Vec<String> {
        let tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().unwrap();
        let of_role = nodes.iter().filter(|node| node["role"]["value"] == role && node["ignored"] != true);
        of_role.map(|node| node["name"]["value"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Gives an order, and returns the answer to it.
    fn call(&mut self, method: &str, parameters: Value) -> Value {
        let number = self.send(method, &parameters);
        let watch = clock::Watch::start();
        loop {
            let left = LIMIT.saturating_sub(watch.elapsed());
            let message = self.messages.recv_timeout(left);
            let message = message.unwrap_or_else(|_| panic!("the browser (chromium) doesn't answer {method}"));
            if message["id"] == number {
                assert!(message.get("error").is_none(), "{method}: {message}");
                return message["result"].clone();
            }
            self.take(&message);
        }
    }

    fn send(&mut self, method: &str, parameters: &Value) -> u64 {
        self.sent += 1;
        let mut order = json!({ "id": self.sent, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).unwrap();
        self.sent
    }

    /// Notes an event. A dialog is accepted: a script waits for that.
    fn take(&mut self, message: &Value) {
        let parameters = &message["params"];
        match message["method"].as_str() {
            Some("Page.javascriptDialogOpening") => {
                self.dialogs.push(parameters["message"].as_str().unwrap_or_default().to_owned());
                self.send("Page.handleJavaScriptDialog", &json!({ "accept": true }));
            }
            Some("Network.requestWillBeSent") => {
                self.requests.push(parameters["request"]["url"].as_str().unwrap_or_default().to_owned());
            }
            Some("Runtime.exceptionThrown") => self.errors.push(parameters.to_string()),
            Some("Log.entryAdded") if parameters["entry"]["level"] == "error" => {
                self.errors.push(parameters["entry"].to_string());
            }
            _ => {}
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The shell has become the browser, whose other processes end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
