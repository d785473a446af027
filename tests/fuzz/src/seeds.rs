//! Valid input of each parser, made here rather than kept as files: a reader sees what it is.

use std::iter::repeat_n;

pub(crate) fn records() -> Vec<Vec<u8>> {
    vec![bootstate::fresh("0.1.0").to_vec(), vec![0; 8192]]
}

/// A disk of 1000 blocks with one partition; for the selector without its first block.
pub(crate) fn gpt() -> Vec<Vec<u8>> {
    let mut entry = [0; 128];
    entry[..16].fill(0x11);
    entry[16..32].fill(0x22);
    entry[32..40].copy_from_slice(&100_u64.to_le_bytes());
    entry[40..48].copy_from_slice(&199_u64.to_le_bytes());
    for (place, letter) in entry[56..].chunks_mut(2).zip("DATA".encode_utf16()) {
        place.copy_from_slice(&letter.to_le_bytes());
    }
    let mut entries = vec![0; 16384];
    entries[..128].copy_from_slice(&entry);
    let mut header = vec![0; 512];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x10000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    for (place, value) in [(24, 1_u64), (32, 999), (40, 34), (48, 966), (72, 2)] {
        header[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }
    header[80..84].copy_from_slice(&128_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32(&entries).to_le_bytes());
    let crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    let without_first_block = [header, entries].concat();
    let mut disk = [vec![0; 512], without_first_block.clone()].concat();
    disk.resize(1000 * 512, 0);
    vec![without_first_block, disk]
}

/// A PE32+ image with one section.
pub(crate) fn pe() -> Vec<Vec<u8>> {
    let mut image = vec![0; 1024];
    image[..2].copy_from_slice(b"MZ");
    image[0x3c] = 0x40;
    image[0x40..0x44].copy_from_slice(b"PE\0\0");
    image[0x44..0x46].copy_from_slice(&0x8664_u16.to_le_bytes());
    image[0x46] = 1;
    image[0x54] = 0xf0;
    image[0x58..0x5a].copy_from_slice(&0x20b_u16.to_le_bytes());
    image[0x58 + 36] = 0x02;
    image[0x58 + 32 + 1] = 0x10;
    image[0x58 + 60..0x58 + 64].copy_from_slice(&512_u32.to_le_bytes());
    image[0x58 + 68] = 10;
    image[0x58 + 108] = 16;
    let section = 0x58 + 0xf0;
    image[section..section + 6].copy_from_slice(b".linux");
    for (place, value) in [(8, 512_u32), (12, 4096), (16, 512), (20, 512)] {
        image[section + place..section + place + 4].copy_from_slice(&value.to_le_bytes());
    }
    vec![image]
}

pub(crate) fn service_table() -> Vec<Vec<u8>> {
    let name = "data".parse().expect("it is a service's name");
    let text = "description = \"x\"\nuser = { name = \"data\", id = 201 }\n";
    let manifest = manifest::parse(&name, "service.toml", text).expect("it is a valid manifest");
    let table = serde_json::json!({"format": 1, "services": [manifest.service()]});
    vec![table.to_string().into_bytes()]
}

pub(crate) fn notify() -> Vec<Vec<u8>> {
    texts(&[
        "READY=1\nSTATUS=up\nWATCHDOG=1",
        "STOPPING=1",
        "FDSTORE=1\nFDNAME=socket\nFDPOLL=0",
        "FDSTOREREMOVE=1\nFDNAME=a b",
        "MAINPID=12\nRELOADING=1\nX=\n=",
    ])
}

pub(crate) fn varlink_calls() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"method":"org.x0tta6bl4.Init.Status"}"#,
        r#"{"method":"org.x0tta6bl4.Init.Logs","parameters":{"service":"data","lines":9},"more":true}"#,
        r#"{"method":"org.x0tta6bl4.Init.Power","parameters":{"action":"reboot"},"oneway":true}"#,
        r#"{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"x"}}"#,
        r#"{"method":"org.x0tta6bl4.Init.Events","parameters":{"first":7},"more":true}"#,
        "{\"method\":\"org.x0tta6bl4.Init.Reexec\"}\0{\"method\":\"org.x0tta6bl4.Init.Blame\"}\0",
    ])
}

pub(crate) fn bus_sessions() -> Vec<Vec<u8>> {
    const HOST: u8 = 0;
    const BUS: u8 = 1;
    const FETCH: u8 = 3;
    let piece = |who: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).expect("seeds are short");
        [&[who, length], bytes].concat()
    };
    let call = b"l\x01\0\x01\x04\0\0\0\x01\0\0\0\x05\0\0\0pathpathbody";
    let (auth, begin) = (&b"\0AUTH EXTERNAL\r\nDATA\r\n"[..], &b"BEGIN\r\n"[..]);
    let agreed = piece(BUS, b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n");
    vec![
        [
            piece(HOST, auth),
            piece(HOST, begin),
            agreed.clone(),
            piece(HOST, call),
        ]
        .concat(),
        [
            piece(
                HOST,
                b"\0AUTH EXTERNAL 31303030\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n",
            ),
            agreed,
            piece(BUS, call),
            piece(FETCH, b""),
            piece(BUS, &call[..9]),
            piece(2, b""),
            piece(HOST, auth),
        ]
        .concat(),
        [piece(HOST, auth), piece(BUS, b"REJECTED EXTERNAL\r\n")].concat(),
    ]
}

pub(crate) fn varlink_replies() -> Vec<Vec<u8>> {
    texts(&[
        r#"{"status":{"version":"0.1.0","build":"c0ffee","hostname":"x0","slot":"a",
        "boot_count":3,"previous_end":"power off","health":{"state":"healthy","reasons":["a"]},
        "uptime_ms":1234,"userspace_ready_ms":99,"notify_rejected":0,"services":[{"name":"data",
        "description":"d","state":"ready","pid":7,"uptime_ms":9,"restarts":0,"status_text":"s",
        "last_exit":"status 1","critical":true,"needs":["x"]}]}}"#,
    ])
}

/// The first bytes of what partitions hold.
pub(crate) fn content() -> Vec<Vec<u8>> {
    let mut ext4 = vec![0; 8192];
    ext4[1024 + 0x38] = 0x53;
    ext4[1024 + 0x39] = 0xef;
    ext4[1024 + 4] = 0x40;
    ext4[1024 + 0x18] = 2;
    ext4[1024 + 0x20..1024 + 0x24].copy_from_slice(&32768_u32.to_le_bytes());
    ext4[1024 + 0x78..1024 + 0x7f].copy_from_slice(b"x0-data");
    let mut marked = data::content::MARKER.to_vec();
    marked.resize(8192, 0);
    vec![
        ext4,
        marked,
        vec![0; 65536],
        b"LUKS\xba\xbe\x00\x02".repeat(600),
    ]
}

/// A FAT16 volume labelled X0-CONFIG with a document.
pub(crate) fn volumes() -> Vec<Vec<u8>> {
    const SECTORS: u16 = 4200;
    let text = b"[system]\nhostname = \"edge-1\"\n";
    let mut volume = vec![0; usize::from(SECTORS) * 512];
    volume[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
    volume[3..11].copy_from_slice(b"mkfs.fat");
    volume[11..13].copy_from_slice(&512_u16.to_le_bytes());
    volume[13] = 1;
    volume[14] = 1;
    volume[16] = 1;
    volume[17..19].copy_from_slice(&16_u16.to_le_bytes());
    volume[19..21].copy_from_slice(&SECTORS.to_le_bytes());
    volume[21] = 0xf8;
    volume[22..24].copy_from_slice(&17_u16.to_le_bytes());
    volume[38] = 0x29;
    volume[43..54].copy_from_slice(b"X0-CONFIG  ");
    volume[54..62].copy_from_slice(b"FAT16   ");
    volume[510..512].copy_from_slice(&[0x55, 0xaa]);
    let fat = 512;
    volume[fat..fat + 6].copy_from_slice(&[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let root = 18 * 512;
    volume[root..root + 12].copy_from_slice(b"X0-CONFIG  \x08");
    // A long name takes an entry of its own, before the one with the short name.
    let short = b"X0~1    TOM";
    let sum = short
        .iter()
        .fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let long = root + 32;
    volume[long..long + 32].fill(0xff);
    volume[long] = 0x41;
    volume[long + 11..long + 14].copy_from_slice(&[0x0f, 0, sum]);
    volume[long + 26..long + 28].fill(0);
    let places = [1, 3, 5, 7, 9, 14, 16, 18];
    for (place, letter) in places.into_iter().zip("x0.toml\0".encode_utf16()) {
        volume[long + place..long + place + 2].copy_from_slice(&letter.to_le_bytes());
    }
    let entry = long + 32;
    volume[entry..entry + 11].copy_from_slice(short);
    volume[entry + 11] = 0x20;
    volume[entry + 26] = 2;
    volume[entry + 28] = u8::try_from(text.len()).expect("it is short");
    let file = root + 512;
    volume[file..file + text.len()].copy_from_slice(text);
    vec![volume]
}

pub(crate) fn documents() -> Vec<Vec<u8>> {
    texts(&[
        include_str!("../../../services/config/example.toml"),
        "[system]\nhostname = \"edge-1\"\n",
        "[network.link.eth0]\nipv4 = { method = \"dhcp\" }\nipv6 = { method = \"auto\" }\n",
    ])
}

/// Two documents each, with a zero byte between them.
pub(crate) fn document_pairs() -> Vec<Vec<u8>> {
    let documents = documents();
    let pairs = documents.iter().zip(documents.iter().cycle().skip(1));
    pairs
        .map(|(old, new)| [&old[..], b"\0", new].concat())
        .collect()
}

/// A key, a value and a document each, with zero bytes between them.
pub(crate) fn edits() -> Vec<Vec<u8>> {
    let example = include_str!("../../../services/config/example.toml");
    [
        "system.hostname\0edge-2",
        "network.route[1].to\0::/0",
        "network.dns[0]\0\"::1\"",
    ]
    .map(|edit| format!("{edit}\0{example}").into_bytes())
    .to_vec()
}

/// An offer and an acknowledgement, bare and in an IPv4 packet.
pub(crate) fn dhcp() -> Vec<Vec<u8>> {
    let message = |kind: u8| {
        let mut message = vec![2, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([192, 0, 2, 50, 192, 0, 2, 1, 0, 0, 0, 0]);
        message.extend([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        message.extend(repeat_n(0, 10 + 64 + 128));
        message.extend([
            99, 130, 83, 99, 53, 1, kind, 54, 4, 192, 0, 2, 1, 51, 4, 0, 0, 14, 16,
        ]);
        message.extend([
            1, 4, 255, 255, 255, 0, 3, 4, 192, 0, 2, 1, 6, 4, 192, 0, 2, 1,
        ]);
        message.extend([121, 8, 24, 10, 1, 2, 192, 0, 2, 9, 26, 2, 5, 220, 15, 3]);
        message.extend(b"lan\xff");
        message
    };
    let [offer, acknowledgement] = [message(2), message(5)];
    let udp_length = u16::try_from(8 + offer.len()).expect("it is short");
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_length).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255]);
    let sum: u32 = packet
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]))
        .sum();
    let [_, _, high, low] = (!((sum & 0xffff) + (sum >> 16))).to_be_bytes();
    packet[10..12].copy_from_slice(&[high, low]);
    packet.extend([0, 67, 0, 68]);
    packet.extend(udp_length.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(&offer);
    vec![offer, acknowledgement, packet]
}

pub(crate) fn solicitations() -> Vec<Vec<u8>> {
    vec![
        vec![133, 0, 0, 0, 0, 0, 0, 0],
        vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7],
    ]
}

pub(crate) fn keys() -> Vec<Vec<u8>> {
    texts(&[
        "l\x1b[A\x1b[6~\x1bOP?q\r",
        "\x1b[1;5A\x1b\x1b",
        "Gr\u{fc}\u{df}e\u{202e}\u{1b}[2J",
    ])
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// CRC-32 as GPT has it (IEEE 802.3).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// `a{sv}` with one text, little-endian: length, padding to 8, key, the variant's signature, value.
pub(crate) fn dbus_options() -> Vec<Vec<u8>> {
    let entry = b"\x06\0\0\0reason\0\x01s\0\0\0\x01\0\0\0x\0";
    let length = u32::try_from(entry.len()).expect("it is short");
    let head = [length.to_le_bytes(), [0; 4]].concat();
    vec![[head.as_slice(), entry].concat(), vec![0; 8]]
}

/// A user and its groups.
pub(crate) fn dbus_credentials() -> Vec<Vec<u8>> {
    let callers: [&[u32]; 4] = [&[0], &[204, 204, 90], &[209, 209, 91], &[1000, 1000]];
    let bytes = |numbers: &&[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    callers.iter().map(bytes).collect()
}

pub(crate) fn process_stat() -> Vec<Vec<u8>> {
    vec![b"7 (a) S 1 7 5 34816 7 4194304 1 0 0 0 1 2 3 4 20 0 1 0 4321 1 1".to_vec()]
}
