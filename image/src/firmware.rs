//! Puts our Secure Boot key into QEMU's firmware variables, as a person would into a machine's.
//!
//! The store's format is that of EDK II's authenticated variables (`VariableFormat.h`): headers
//! with name and data one after the other, erased flash behind them.

use std::path::Path;

use crate::tool::{FileError, read, write};
use crate::{Error, Guid, Keys};

const GLOBAL: Guid = Guid::from_u128(0x8be4_df61_93ca_11d2_aa0d_00e0_9803_2b8c);
const SECURITY_DATABASE: Guid = Guid::from_u128(0xd719_b2cb_3d3a_4596_a3bc_dad0_0e67_656f);
const SECURE_BOOT_ENABLE: Guid = Guid::from_u128(0xf0a3_0bc7_af08_4556_99c4_0010_09c9_3a44);
const X509: Guid = Guid::from_u128(0xa5c0_59a1_94e4_4aa7_87b5_ab15_5c2b_f072);
const AUTHENTICATED_STORE: Guid = Guid::from_u128(0xaaf3_2c78_947b_439a_a180_2e14_4ec3_7792);
/// Who enrolled the key; firmware shows it and attaches no meaning to it.
const OWNER: Guid = Guid::from_u128(0x7830_0000_6ba4_4e0a_9c1e_5ecb_0000_0001);

const STORE_HEADER_BYTES: usize = 28;
const VARIABLE_HEADER_BYTES: usize = 60;
const VARIABLE_START: [u8; 2] = [0xaa, 0x55];
const VARIABLE_ADDED: u8 = 0x3f;
const ERASED: u8 = 0xff;
/// Non-volatile, visible to boot services.
const PRIVATE: u32 = 0x03;
/// The same, also visible at run time and changed only by a signed, dated update.
const AUTHENTICATED: u32 = 0x27;

/// Why a file cannot take the keys.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VariableStoreError {
    /// It holds no store of the kind that OVMF uses.
    #[error("there is no authenticated variable store in it")]
    NoStore,
    /// What is in it already leaves no room.
    #[error("the variable store is full")]
    Full,
    /// It has been used to boot with before.
    #[error("it has a `{0}` already; start from an unused copy of OVMF_VARS_4M.fd")]
    HasVariable(&'static str),
}

/// Writes a copy of the unused variable store `template` (Debian: `OVMF_VARS_4M.fd`) to `out`, in
/// which Secure Boot is on and trusts `keys` alone.
pub fn secure_boot_vars(template: &Path, keys: &Keys, out: &Path) -> Result<(), Error> {
    let store = read(template)?;
    let certificate = keys.certificate_der()?;
    let enrolled = enroll(&store, &certificate).map_err(|source| Error::Firmware {
        path: template.to_owned(),
        source,
    })?;
    write(out, enrolled).map_err(|error: FileError| error.into())
}

fn enroll(flash: &[u8], certificate: &[u8]) -> Result<Vec<u8>, VariableStoreError> {
    let mut flash = flash.to_vec();
    let (mut next, end) = free_space(&flash)?;
    let list = signature_list(certificate);
    for (name, vendor, attributes, data) in [
        ("PK", GLOBAL, AUTHENTICATED, list.as_slice()),
        ("KEK", GLOBAL, AUTHENTICATED, &list),
        ("db", SECURITY_DATABASE, AUTHENTICATED, &list),
        ("SecureBootEnable", SECURE_BOOT_ENABLE, PRIVATE, &[1]),
    ] {
        let label = utf16(name);
        if contains(&flash[..end], &label, vendor) {
            return Err(VariableStoreError::HasVariable(name));
        }
        let variable = variable(&label, vendor, attributes, data);
        let place = flash[..end].get_mut(next..next + variable.len());
        place
            .ok_or(VariableStoreError::Full)?
            .copy_from_slice(&variable);
        next = (next + variable.len()).next_multiple_of(4);
    }
    Ok(flash)
}

/// Where the next variable goes, and where the store ends.
fn free_space(flash: &[u8]) -> Result<(usize, usize), VariableStoreError> {
    // The firmware volume's header says how long it is itself; the store follows it.
    let start = usize::from(read_u16(flash, 48)?);
    if flash.get(start..start + 16) != Some(AUTHENTICATED_STORE.to_bytes().as_slice()) {
        return Err(VariableStoreError::NoStore);
    }
    let end = start + read_u32(flash, start + 16)?;
    if end > flash.len() {
        return Err(VariableStoreError::NoStore);
    }
    let mut next = (start + STORE_HEADER_BYTES).next_multiple_of(4);
    while flash[..end].get(next..next + 2) == Some(VARIABLE_START.as_slice()) {
        let name_bytes = read_u32(flash, next + 36)?;
        let data_bytes = read_u32(flash, next + 40)?;
        next = (next + VARIABLE_HEADER_BYTES + name_bytes + data_bytes).next_multiple_of(4);
    }
    match flash[..end].get(next) {
        Some(&ERASED) => Ok((next, end)),
        _ => Err(VariableStoreError::Full),
    }
}

fn contains(flash: &[u8], label: &[u8], vendor: Guid) -> bool {
    let needle = [vendor.to_bytes().as_slice(), label].concat();
    flash.windows(needle.len()).any(|window| window == needle)
}

fn variable(label: &[u8], vendor: Guid, attributes: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::from(VARIABLE_START);
    bytes.extend_from_slice(&[VARIABLE_ADDED, 0]);
    bytes.extend_from_slice(&attributes.to_le_bytes());
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&timestamp(attributes));
    bytes.extend_from_slice(&[0; 4]);
    for part in [label, data] {
        let length = u32::try_from(part.len()).expect("certificates are far below 4 GiB");
        bytes.extend_from_slice(&length.to_le_bytes());
    }
    bytes.extend_from_slice(&vendor.to_bytes());
    bytes.extend_from_slice(label);
    bytes.extend_from_slice(data);
    bytes
}

/// An `EFI_TIME`: 2026-01-01, the day from which the development key is valid.
fn timestamp(attributes: u32) -> [u8; 16] {
    let mut time = [0; 16];
    if attributes == AUTHENTICATED {
        time[..2].copy_from_slice(&2026u16.to_le_bytes());
        time[2] = 1;
        time[3] = 1;
    }
    time
}

fn signature_list(certificate: &[u8]) -> Vec<u8> {
    let signature_bytes = u32::try_from(certificate.len() + 16).expect("certificates are small");
    let mut list = Vec::from(X509.to_bytes());
    for field in [28 + signature_bytes, 0, signature_bytes] {
        list.extend_from_slice(&field.to_le_bytes());
    }
    list.extend_from_slice(&OWNER.to_bytes());
    list.extend_from_slice(certificate);
    list
}

fn utf16(name: &str) -> Vec<u8> {
    name.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn read_u16(flash: &[u8], at: usize) -> Result<u16, VariableStoreError> {
    let bytes = flash.get(at..).and_then(|rest| rest.first_chunk());
    bytes
        .map(|bytes| u16::from_le_bytes(*bytes))
        .ok_or(VariableStoreError::NoStore)
}

fn read_u32(flash: &[u8], at: usize) -> Result<usize, VariableStoreError> {
    let bytes = flash.get(at..).and_then(|rest| rest.first_chunk());
    let value = bytes
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or(VariableStoreError::NoStore)?;
    Ok(value as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

    #[test]
    fn keys_go_behind_what_is_there_and_only_once() {
        let template = std::fs::read(TEMPLATE).unwrap();
        let (before, end) = free_space(&template).unwrap();
        let enrolled = enroll(&template, b"certificate").unwrap();
        let (after, end_after) = free_space(&enrolled).unwrap();
        assert!(after > before && end == end_after);
        assert_eq!(template[..before], enrolled[..before]);
        assert_eq!(template[end..], enrolled[end..]);
        assert_eq!(
            enroll(&enrolled, b"x"),
            Err(VariableStoreError::HasVariable("PK"))
        );
    }

    #[test]
    fn what_is_no_store_or_too_small_is_refused() {
        assert_eq!(enroll(b"", b"x"), Err(VariableStoreError::NoStore));
        assert_eq!(enroll(&[0; 4096], b"x"), Err(VariableStoreError::NoStore));
        let template = std::fs::read(TEMPLATE).unwrap();
        let huge = vec![0; template.len()];
        assert_eq!(enroll(&template, &huge), Err(VariableStoreError::Full));
    }
}
