//! Adds to each order the tier of its customer, which it asks a server for: `GET URL/CUSTOMER` returns `{"tier":"gold"}`.
//!
//! It is an example of HTTP requests, which a step's `allow` has to grant. Setting: `url`. An order of a customer that the server
//! doesn't know is rejected; if there is no response, or one of another kind, the record is tried again.

use serde::Deserialize;
use wasmill_sdk::Emitter;
use wasmill_sdk::Failure;
use wasmill_sdk::Record;
use wasmill_sdk::Transform;
use wasmill_sdk::Verdict;
use wasmill_sdk::http;
use wasmill_sdk::reject;
use wasmill_sdk::retry;

#[derive(Deserialize)]
struct Enrich {
    url: String,
}

#[derive(Deserialize)]
struct Order {
    customer: u64,
}

#[derive(Deserialize)]
struct Customer {
    tier: String,
}

impl Transform for Enrich {
    fn init(settings: &str, _ports: &[String]) -> Result<Self, String> {
        serde_json::from_str(settings).map_err(|error| format!("settings: {error}"))
    }

    fn process(&mut self, record: Record<'_>, out: &mut Emitter<'_>) -> Verdict {
        let Some(value) = record.value else {
            out.forward(0);
            return Ok(());
        };
        let order: Order = serde_json::from_slice(value).map_err(|error| reject("bad-order", error))?;
        let tier = serde_json::to_string(&self.tier(order.customer)?).map_err(|error| reject("bad-tier", error))?;
        // An object with a member ends with `}`: the rest stays as it is, to the byte.
        let end = value.iter().rposition(|byte| *byte == b'}').unwrap_or(value.len());
        let enriched = [&value[..end], b",\"tier\":", tier.as_bytes(), &value[end..]].concat();
        out.output(0).value(Some(&enriched));
        Ok(())
    }
}

impl Enrich {
    fn tier(&self, customer: u64) -> Result<String, Failure> {
        let response = http::get(format!("{}/{customer}", self.url)).send().map_err(retry)?;
        match response.status {
            200 => {
                let found: Customer = serde_json::from_slice(&response.body).map_err(retry)?;
                Ok(found.tier)
            }
            404 => Err(reject("unknown-customer", format!("there is no customer {customer}"))),
            status => Err(retry(format!("the server of customers returned {status}"))),
        }
    }
}

wasmill_sdk::export!(Enrich);

#[cfg(test)]
mod tests {
    use wasmill_sdk::http::Error;
    use wasmill_sdk::http::Request;
    use wasmill_sdk::http::Response;
    use wasmill_sdk::testing::Harness;
    use wasmill_sdk::testing::Input;
    use wasmill_sdk::testing::respond;

    use super::Enrich;

    #[test]
    fn an_order_gets_the_tier_of_its_customer() {
        let mut enrich = Harness::<Enrich>::new("{\"url\":\"http://tiers\"}", &["main"]).unwrap();
        let _responding = respond(|request: &Request| match &*request.url {
            "http://tiers/7" => {
                Ok(Response { status: 200, body: b"{\"tier\":\"gold\"}".into(), ..Response::default() })
            }
            "http://tiers/8" => Ok(Response { status: 404, ..Response::default() }),
            "http://tiers/9" => Ok(Response { status: 503, ..Response::default() }),
            _ => Err(Error::new("no response in time")),
        });
        let outputs = enrich.run_one(Input::value("{\"customer\":7,\"total\":1e0}\n")).unwrap();
        assert_eq!(outputs[0].value.as_deref(), Some(&b"{\"customer\":7,\"total\":1e0,\"tier\":\"gold\"}\n"[..]));
        let mut failure = |value: &str| enrich.run_one(Input::value(value)).unwrap_err().to_string();
        assert_eq!(failure("{\"customer\":8}"), "reject (unknown-customer): there is no customer 8");
        assert_eq!(failure("{\"customer\":9}"), "retry: the server of customers returned 503");
        assert_eq!(failure("{\"customer\":10}"), "retry: no response in time");
        assert!(failure("{\"total\":1}").starts_with("reject (bad-order)"));
    }
}
