//! Volumes as people make them (`mkfs.vfat`, `mcopy`), and as nobody should.

#[cfg(test)]
mod cases;
#[cfg(test)]
mod store;
