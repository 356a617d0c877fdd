//! Patches as kustomize has them, as far as our kustomizations use them.

use serde_json::Value;

/// A strategic merge: maps are merged, `null` takes away, lists of things with a `name` are merged by it, with what is
/// new before what was there; all else is replaced.
pub(super) fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(into), Value::Array(patch)) if patch.iter().all(|item| named(item).is_some()) => {
            let mut new = 0;
            for item in patch {
                match into.iter_mut().find(|other| named(other) == named(&item)) {
                    Some(other) => merge(other, item),
                    None => {
                        into.insert(new, item);
                        new += 1;
                    }
                }
            }
        }
        // What was not there may still have something taken away in it.
        (into @ Value::Null, patch @ Value::Object(_)) => {
            *into = Value::Object(serde_json::Map::new());
            merge(into, patch);
        }
        (into, patch) => *into = patch,
    }
}

fn named(value: &Value) -> Option<&str> {
    value.get("name")?.as_str()
}

/// JSON patches `add` to the end of a list (`/-`) and `replace`; `None` where there is no such place.
pub(super) fn apply(into: &mut Value, operations: &Value) -> Option<()> {
    for operation in operations.as_array()? {
        let path = operation.get("path")?.as_str()?;
        let value = operation.get("value")?.clone();
        match (operation.get("op")?.as_str()?, path.strip_suffix("/-")) {
            ("add", Some(list)) => into.pointer_mut(list)?.as_array_mut()?.push(value),
            ("replace", None) => *into.pointer_mut(path)? = value,
            _ => return None,
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_strategic_merge_is_by_name_and_null_takes_away() {
        let mut value = json!({"list": [{"name": "a", "x": 1, "y": {"z": 1}}], "plain": [1, 2]});
        merge(
            &mut value,
            json!({"list": [{"name": "a", "x": null, "y": {"w": {"v": null}}}, {"name": "b"}], "plain": [3]}),
        );
        assert_eq!(value, json!({"list": [{"name": "b"}, {"name": "a", "y": {"z": 1, "w": {}}}], "plain": [3]}));
    }

    #[test]
    fn a_patch_that_fits_nowhere_is_no_patch() {
        let mut value = json!({"a": [1]});
        assert_eq!(apply(&mut value, &json!([{"op": "add", "path": "/a/-", "value": 2}])), Some(()));
        assert_eq!(apply(&mut value, &json!([{"op": "replace", "path": "/a/0", "value": 0}])), Some(()));
        assert_eq!(value, json!({"a": [0, 2]}));
        for (op, path) in [("add", "/b/-"), ("remove", "/a"), ("add", "/a"), ("replace", "/b")] {
            assert_eq!(apply(&mut value, &json!([{"op": op, "path": path, "value": 2}])), None, "{op} {path}");
        }
    }
}
