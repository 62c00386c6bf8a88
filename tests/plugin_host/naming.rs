//! Topics that a plugin names for its outputs: their numbers, and every way in which these can be wrong.

use std::fmt::Write as _;

use wasmill::batch::Outputs;
use wasmill::failure::Failure;
use wasmill::failure::Kind;

use crate::component::described;
use crate::component::forms;
use crate::component::load;
use crate::component::settings;
use crate::component::with_prelude;
use crate::records;

/// Forwards three records with these numbers of ports, after it has asked for the numbers of these topics, each with its port.
fn naming(topics: &[(u32, &[u8])], ports: [u32; 3]) -> Vec<u8> {
    let (mut segments, mut calls, mut at) = (String::new(), String::new(), 2048);
    for (port, name) in topics {
        let text: String = name.iter().map(|byte| format!("\\{byte:02x}")).collect();
        writeln!(segments, "(data (i32.const {at}) \"{text}\")").unwrap();
        let length = name.len();
        writeln!(calls, "(drop (call $number (i32.const {port}) (i32.const {at}) (i32.const {length})))").unwrap();
        at += length;
    }
    let ports: String = ports.iter().flat_map(|port| port.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    let module = format!(
        "(import \"wasmill:plugin/topics@1.0.0\" \"number\" (func $number (param i32 i32 i32) (result i32)))
         (data (i32.const 1024) \"{ports}\")
         {segments}
         (func $process (type $process)
           {calls}
           (drop (call $outcome (call $array (local.get 4) (i32.const 1)) (local.get 4)
             (call $array (i32.const 9) (i32.const -2)) (i32.const 9) (i32.const 0) (i32.const 0)))
           (i32.store (i32.const 12) (i32.const 1024))
           (i32.store (i32.const 16) (i32.const 3))
           (i32.const 0))"
    );
    described(&with_prelude(&module), "naming")
}

/// What both forms of a plugin return for three records, at the second call of an instance.
fn called(topics: &[(u32, &[u8])], ports: [u32; 3]) -> Result<Outputs, Failure> {
    let [module, component] = forms(&naming(topics, ports)).map(|bytes| {
        let step = load(&bytes, settings()).unwrap();
        let (mut instance, batch) = (step.instantiate().unwrap(), records(0));
        instance.process(&batch.view())?;
        instance.process(&batch.view()).map(|outcome| outcome.outputs)
    });
    match (&module, &component) {
        (Ok(of_module), Ok(of_component)) => assert_eq!(named(of_module), named(of_component)),
        (Err(of_module), Err(of_component)) => assert_eq!(of_module.kind, of_component.kind),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{module:?} and {component:?}"),
    }
    module
}

/// The port and the topic of each output.
fn named(outputs: &Outputs) -> Vec<(u32, Option<String>)> {
    (0..3).map(|index| (outputs.port(index), outputs.topic(index).map(ToString::to_string))).collect()
}

#[test]
fn outputs_go_to_the_topics_whose_numbers_they_have_and_each_call_numbers_them_anew() {
    let topics: [(u32, &[u8]); 4] = [(0, b"rows.eu"), (1, b"rows.eu"), (0, b"rows.us"), (0, b"rows.eu")];
    let some = |port: u32, name: &str| (port, Some(name.to_owned()));
    let outputs = called(&topics, [2, 1, 4]).unwrap();
    assert_eq!(named(&outputs), [some(0, "rows.eu"), (1, None), some(0, "rows.us")]);
    let outputs = called(&topics, [3, 0, 3]).unwrap();
    assert_eq!(named(&outputs), [some(1, "rows.eu"), (0, None), some(1, "rows.eu")]);
    // The first name again has no number of its own, so there are three.
    let refused = called(&topics, [0, 5, 0]).unwrap_err();
    assert_eq!(refused.reason, "output 1 names port 5, but there are 2 ports and 3 numbers of topics");
}

#[test]
fn names_that_no_topic_has_reach_the_outputs_that_have_their_numbers_and_no_others() {
    let long = [b'x'; 250];
    let outputs = called(&[(0, b""), (0, &long), (0, &[b'x'; 9000])], [2, 3, 4]).unwrap();
    let lengths: Vec<usize> = (0..3).map(|index| outputs.topic(index).unwrap().len()).collect();
    assert_eq!(lengths[..2], [0, 250]);
    assert!((250..300).contains(&lengths[2]), "the rest of a name is cut, and it stays too long");
    assert_eq!(named(&called(&[(0, b""), (7, b"a")], [0, 1, 0]).unwrap()), [(0, None), (1, None), (0, None)]);
}

#[test]
fn numbers_that_were_not_asked_for_and_names_that_are_no_text_fail_the_call() {
    for (topics, ports, message) in [
        (&[][..], [0, 2, 0], "output 1 names port 2, but there are 2 ports"),
        (&[(0, &b"a"[..])], [0, 0, 3], "output 2 names port 3, but there are 2 ports and 1 numbers of topics"),
        (
            &[(0, b"a")],
            [u32::MAX, 0, 0],
            "output 0 names port 4294967295, but there are 2 ports and 1 numbers of topics",
        ),
        (&[(2, b"a")], [0, 2, 0], "output 1 names port 2 and topic `a`, but there are 2 ports"),
    ] {
        let refused = called(topics, ports).unwrap_err();
        assert_eq!((refused.kind, refused.reason.as_str()), (Kind::BadOutput, message));
    }
    let not_text = called(&[(0, b"rows.\xff")], [0, 0, 0]).unwrap_err();
    assert!(not_text.kind.spoils_instance(), "{not_text}");
}
