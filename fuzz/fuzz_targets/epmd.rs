//! Requests to our EPMD and answers from another: what can be read, and is fit to be registered, is written back as it
//! was. (An unfit name is read all the same, because the asker is to be told that it is refused.)
#![no_main]

use gusset::proto::epmd::{
    EpmdEntry, EpmdRequest, MAX_EPMD_FIELD, RegisterReply, decode_dump_reply, decode_names_reply, decode_port_reply,
    encode_port_reply, is_registrable,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(request) = EpmdRequest::decode(input)
        && !matches!(&request, EpmdRequest::Register(entry) if !is_fit(entry))
    {
        let bytes = request.encode().expect("what came can be sent on");
        let body = bytes.get(2..).expect("a length before it");
        assert_eq!(EpmdRequest::decode(body).as_ref(), Ok(&request));
    }
    if let Ok(Some(entry)) = decode_port_reply(input)
        && is_fit(&entry)
    {
        let bytes = encode_port_reply(Some(&entry));
        assert_eq!(decode_port_reply(&bytes), Ok(Some(entry)));
    }
    if let Ok(reply) = RegisterReply::decode(input) {
        assert_eq!(RegisterReply::decode(&reply.encode(6)), Ok(reply));
    }
    let _ = decode_names_reply(input);
    let _ = decode_dump_reply(input);
});

fn is_fit(entry: &EpmdEntry) -> bool {
    is_registrable(&entry.name) && entry.extra.len() <= MAX_EPMD_FIELD
}
