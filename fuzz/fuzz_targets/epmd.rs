//! Requests to our EPMD and answers from another: what can be read is written back as it was.
#![no_main]

use gusset::proto::epmd::{
    EpmdRequest, RegisterReply, decode_dump_reply, decode_names_reply, decode_port_reply, encode_port_reply,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = EpmdRequest::decode(input) {
        let bytes = request.encode().expect("what came can be sent on");
        let body = bytes.get(2..).expect("a length before it");
        assert_eq!(EpmdRequest::decode(body).as_ref(), Ok(&request));
    }
    if let Ok(Some(entry)) = decode_port_reply(input) {
        let bytes = encode_port_reply(Some(&entry));
        assert_eq!(decode_port_reply(&bytes), Ok(Some(entry)));
    }
    if let Ok(reply) = RegisterReply::decode(input) {
        assert_eq!(RegisterReply::decode(&reply.encode(6)), Ok(reply));
    }
    let _ = decode_names_reply(input);
    let _ = decode_dump_reply(input);
});
