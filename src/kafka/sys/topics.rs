//! UNSAFE. Topics of a producer, and producing.
//!
//! JUSTIFICATION: producing through the binding costs more CPU time.
//!
//! The caller decides about topic, partition and record. Invariant: a record is copied before `produce` returns.

#![expect(unsafe_code, reason = "librdkafka's own calls; see JUSTIFICATION")]

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::Arc;

use rdkafka_sys as rd;

use super::client::Client;
use super::codes;
use super::errors::Code;
use super::text::c_topic;
use super::text::text;
use crate::record::OutRecord;

/// A topic of a producer, with its own settings. If the client already knows the name, librdkafka returns its existing
/// handle, counts one more owner, and ignores the settings.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(super) pointer: NonNull<rd::rd_kafka_topic_t>,
    // After the pointer: the client must outlive it.
    client: Arc<Client>,
}

// SAFETY: librdkafka's topics are thread-safe.
unsafe impl Send for Topic {}

// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    pub(crate) fn new(client: &Arc<Client>, name: &str, config: &BTreeMap<String, String>) -> Result<Topic, String> {
        let name = c_topic(name);
        // SAFETY: `conf` is ours until `rd_kafka_topic_new` takes it over, whatever its result, or it is destroyed.
        unsafe {
            // The client's defaults for topics (partitioner, timeout), which the output's settings then override.
            let conf = rd::rd_kafka_default_topic_conf_dup(client.handle.as_ptr());
            let mut reason = [0 as c_char; 512];
            for (key, value) in config {
                let (Ok(c_key), Ok(c_value)) = (CString::new(key.as_str()), CString::new(value.as_str())) else {
                    rd::rd_kafka_topic_conf_destroy(conf);
                    return Err(format!("`{key}` or its value holds a NUL byte"));
                };
                let result = rd::rd_kafka_topic_conf_set(
                    conf,
                    c_key.as_ptr(),
                    c_value.as_ptr(),
                    reason.as_mut_ptr(),
                    reason.len(),
                );
                if result != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    rd::rd_kafka_topic_conf_destroy(conf);
                    return Err(text(reason.as_ptr()));
                }
            }
            let topic = rd::rd_kafka_topic_new(client.handle.as_ptr(), name.as_ptr(), conf);
            let pointer = NonNull::new(topic).ok_or_else(|| "the topic's settings don't fit together".to_owned())?;
            Ok(Topic { pointer, client: Arc::clone(client) })
        }
    }

    /// Queues a record. Key, value and headers are copied. Its report carries `tag`. A `partition` of -1 leaves the
    /// choice to the partitioner.
    pub(crate) fn produce(&self, record: &OutRecord<'_>, partition: i32, tag: u64) -> Result<(), Code> {
        fn value(kind: rd::rd_kafka_vtype_t, u: rd::rd_kafka_vu_s__bindgen_ty_1) -> rd::rd_kafka_vu_t {
            rd::rd_kafka_vu_t { vtype: kind, u }
        }
        fn memory(bytes: Option<&[u8]>) -> rd::rd_kafka_vu_s__bindgen_ty_1 {
            // An empty slice has a pointer that is not null, so librdkafka can distinguish empty from null.
            let (ptr, size) = bytes.map_or((std::ptr::null(), 0), |bytes| (bytes.as_ptr(), bytes.len()));
            let mem = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr.cast_mut().cast(), size };
            rd::rd_kafka_vu_s__bindgen_ty_1 { mem }
        }
        use rd::rd_kafka_vtype_t as kind;
        use rd::rd_kafka_vu_s__bindgen_ty_1 as union;
        let headers = headers_of(record);
        let flags = rd::RD_KAFKA_MSG_F_COPY as c_int;
        // librdkafka takes 0 as "now" and has no value for "none".
        let timestamp = record.timestamp.max(0);
        let values = [
            value(kind::RD_KAFKA_VTYPE_RKT, union { rkt: self.pointer.as_ptr() }),
            value(kind::RD_KAFKA_VTYPE_PARTITION, union { i32_: partition }),
            value(kind::RD_KAFKA_VTYPE_MSGFLAGS, union { i: flags }),
            value(kind::RD_KAFKA_VTYPE_KEY, memory(record.key)),
            value(kind::RD_KAFKA_VTYPE_VALUE, memory(record.value)),
            value(kind::RD_KAFKA_VTYPE_TIMESTAMP, union { i64_: timestamp }),
            value(kind::RD_KAFKA_VTYPE_OPAQUE, union { ptr: tag as *mut c_void }),
            value(kind::RD_KAFKA_VTYPE_HEADERS, union { headers }),
        ];
        let count = if headers.is_null() { values.len() - 1 } else { values.len() };
        // SAFETY: all pointers live during the call, which copies key and value. It takes the headers over when it succeeds;
        // otherwise they are still ours and are destroyed here.
        unsafe {
            let error = rd::rd_kafka_produceva(self.client.handle.as_ptr(), values.as_ptr(), count);
            if error.is_null() {
                return Ok(());
            }
            let code = Code(codes::rd_kafka_error_code(error));
            rd::rd_kafka_error_destroy(error);
            if !headers.is_null() {
                rd::rd_kafka_headers_destroy(headers);
            }
            Err(code)
        }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the pointer is ours and dropped once, before the client.
        unsafe { rd::rd_kafka_topic_destroy(self.pointer.as_ptr()) }
    }
}

/// The headers in librdkafka's form, owned by the caller; null if there are none.
fn headers_of(record: &OutRecord<'_>) -> *mut rd::rd_kafka_headers_t {
    if record.headers.is_empty() {
        return std::ptr::null_mut();
    }
    // SAFETY: names and values are copied by the call, and their lengths are given.
    unsafe {
        let headers = rd::rd_kafka_headers_new(record.headers.len());
        for header in record.headers.iter() {
            let (value, size) = header.value.map_or((std::ptr::null(), 0), |value| (value.as_ptr(), value.len()));
            rd::rd_kafka_header_add(
                headers,
                header.name.as_ptr().cast(),
                header.name.len().cast_signed(),
                value.cast(),
                size.cast_signed(),
            );
        }
        headers
    }
}
