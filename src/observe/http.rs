//! Counters of one core's HTTP edge; shown as the statistic `httpd`.

use crate::observe::Counter;
use crate::observe::Statistic;
use crate::observe::Value;

macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// What the HTTP edge of one core counts.
        #[derive(Debug, Default)]
        pub struct HttpCounters {
            $($(#[$doc])* pub $field: Counter,)*
        }

        impl HttpCounters {
            /// The counters as a statistic of the listener at `bind` (`:8086`).
            pub fn statistic(&self, bind: &str) -> Statistic {
                Statistic {
                    name: "httpd",
                    tags: Some(vec![("bind", bind.to_owned())]),
                    values: vec![$(($name, Value::Integer(self.$field.get())),)*],
                }
            }
        }
    };
}

counters! {
    /// Refused credentials.
    auth_fail = "authFail",
    /// Answers with 4xx.
    client_error = "clientError",
    /// Flux requests, all refused.
    flux_query_req = "fluxQueryReq",
    /// Time spent on them.
    flux_query_req_duration_ns = "fluxQueryReqDurationNs",
    /// `/ping`.
    ping_req = "pingReq",
    /// Points refused by a partial write.
    points_written_dropped = "pointsWrittenDropped",
    /// Points of writes that failed wholly.
    points_written_fail = "pointsWrittenFail",
    /// Points stored.
    points_written_ok = "pointsWrittenOK",
    /// Prometheus reads.
    prom_read_req = "promReadReq",
    /// Prometheus writes.
    prom_write_req = "promWriteReq",
    /// Queries.
    query_req = "queryReq",
    /// Time spent on queries.
    query_req_duration_ns = "queryReqDurationNs",
    /// Bytes of query answers, before compression.
    query_resp_bytes = "queryRespBytes",
    /// Always 0: a panic here ends the process.
    recovered_panics = "recoveredPanics",
    /// Requests.
    req = "req",
    /// Requests being served.
    req_active = "reqActive",
    /// Time spent on requests.
    req_duration_ns = "reqDurationNs",
    /// Answers with 5xx.
    server_error = "serverError",
    /// `/status`.
    status_req = "statusReq",
    /// Field values stored.
    values_written_ok = "valuesWrittenOK",
    /// Writes.
    write_req = "writeReq",
    /// Writes being served.
    write_req_active = "writeReqActive",
    /// Bytes of write bodies, after decompression.
    write_req_bytes = "writeReqBytes",
    /// Time spent on writes.
    write_req_duration_ns = "writeReqDurationNs",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_two_cores_add_up_and_are_sorted() {
        let (one, two) = (HttpCounters::default(), HttpCounters::default());
        one.req.add(2);
        two.req.add(3);
        let mut sum = one.statistic(":8086");
        sum.add(&two.statistic(":8086"));
        assert!(sum.values.contains(&("req", Value::Integer(5))));
        assert!(sum.values.is_sorted_by_key(|(name, _)| name.to_ascii_lowercase()));
    }
}
