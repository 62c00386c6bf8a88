"""Adds to each order the tier of its customer, which a server knows. An order of a customer that it doesn't know is rejected."""

from wasmill import Reject, Retry, http, plugin


@plugin
def BatchHandler(settings, ports):
    url = settings["url"]

    def process(record, out):
        if record.value is None:
            out.forward()
            return
        order = record.json()
        if not isinstance(order, dict) or not isinstance(order.get("customer"), int):
            raise Reject("bad-order", "there is no number `customer`")
        # Without a response the record is tried again.
        response = http.get(f"{url}/{order['customer']}")
        if response.status == 404:
            raise Reject("unknown-customer", f"there is no customer {order['customer']}")
        if response.status != 200:
            raise Retry(f"the server of customers returned {response.status}")
        out.json(order | {"tier": response.json()["tier"]})

    return process
