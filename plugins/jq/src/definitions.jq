# What is defined anew here differs in jaq from jq in a way that a record's reader would notice.

# jaq's own puts the last field of an object into the gap.
def del(f): delpaths([path(f)]);
def from_entries:
  reduce .[] as $entry ({}; . + {
    ($entry | .key // .k // .name // .Name // .K // .Key | if isstring then . else tojson end):
    ($entry | if has("value") then .value elif has("v") then .v else .Value end)
  });
def with_entries(f): to_entries | map(f) | from_entries;
def join($s):
  reduce .[] as $part (null;
    (if . == null then "" else . + $s end) + ($part | if . == null then "" elif isstring then . else tojson end)
  ) // "";

def scan(re; flags):
  matches(re; "g" + flags)[] | [.[].string] | if length > 1 then .[1:] else .[0] end;
def scan(re): scan(re; "");

def @csv:
  [.[] | if . == null then ""
    elif isstring then "\"" + (split("\"") | join("\"\"")) + "\""
    elif . >= [] then error("\(type) is not a field of CSV")
    else tojson end] | join(",");
def @tsv:
  def escaped($from; $to): split($from) | join($to);
  [.[] | if . == null then ""
    elif isstring then escaped("\\"; "\\\\") | escaped("\t"; "\\t") | escaped("\n"; "\\n") | escaped("\r"; "\\r")
    elif . >= [] then error("\(type) is not a field of TSV")
    else tojson end] | join("\t");

# In jq, and not in jaq.
def IN(values): any(values == .; .);
def IN(these; values): any(these == values; .);
def INDEX(rows; f): reduce rows as $row ({}; .[$row | f | tostring] |= $row);
def INDEX(f): INDEX(.[]; f);
def toarray: if isarray then . else [.] end;
def leaf_paths: paths(scalars);
