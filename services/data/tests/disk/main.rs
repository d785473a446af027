//! The two changes that a power cut must not spoil: growing the partition and formatting it.
//! Everything runs on images; `sgdisk`, `mke2fs`, `e2fsck` and `debugfs` make and judge them.

#[cfg(test)]
mod cut;
#[cfg(test)]
mod format;
#[cfg(test)]
mod grow;
#[cfg(test)]
mod mounted;
