//! The responses that a plugin under test gets to its HTTP requests.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::http::Error;
use crate::http::Request;
use crate::http::Response;

type Server = Box<dyn FnMut(&Request) -> Result<Response, Error>>;

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// The requests of this thread get their responses from a function, until the value is dropped.
pub fn respond(server: impl FnMut(&Request) -> Result<Response, Error> + 'static) -> Responding {
    SERVER.set(Some(Box::new(server)));
    Responding(PhantomData)
}

/// While it exists, requests get responses. It stays on its thread.
#[must_use = "without it there are no responses"]
#[derive(Debug)]
pub struct Responding(PhantomData<*const ()>);

impl Drop for Responding {
    fn drop(&mut self) {
        SERVER.set(None);
    }
}

pub(crate) fn response_to(request: &Request) -> Result<Response, Error> {
    SERVER.with_borrow_mut(|server| match server {
        Some(server) => server(request),
        None => Err(Error::new("a test gives the responses: call `testing::respond`")),
    })
}
