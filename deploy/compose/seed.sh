#!/bin/sh
# Prints orders, five a second, for ever or the number that is given. Each has the fields that both pipelines use.
set -eu
left=${1:--1}
order=0
while [ "$left" -ne 0 ]; do
    order=$((order + 1))
    case $((order * 7 % 5)) in
        0) country=DE ;;
        1) country=SE ;;
        2) country=FR ;;
        *) country=US ;;
    esac
    customer=$((order * 13 % 97))
    printf '{"order":%d,"at":"%s","country":"%s","customer":"c%d","email":"c%d@example.com","total":%d.%02d}\n' \
        "$order" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$country" "$customer" "$customer" $((order * 37 % 200 + 1)) $((order * 31 % 100))
    left=$((left - 1))
    sleep 0.2
done
