#!/bin/sh
# Creates what the pipelines read and write. The changelog topic of `revenue` creates itself.
set -eu
for topic in orders orders.clean orders.dead orders.late revenue-per-minute; do
    # One partition: `revenue` needs each country in one partition.
    /opt/kafka/bin/kafka-topics.sh --bootstrap-server kafka:9092 --create --if-not-exists --topic "$topic" --partitions 1 --replication-factor 1
done
