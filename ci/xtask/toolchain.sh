# Sourced by the entry points: picks the Rust toolchain and names the cache.
#
# The checkout's own toolchain (rustup, rust-toolchain.toml) where it works, else any cargo that is
# new enough, else Debian's cargo-web, which ci/setup installs. Sets `toolchain` to rustup, path or
# debian; exports PATH and X0_CACHE.

export X0_CACHE=${X0_CACHE:-$HOME/.cache/x0}

rust_version_wanted=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)

# cargo may be a rustup proxy whose toolchain can't be downloaded: only a run tells.
cargo_is_new_enough() {
    local found
    found=$("$1" --version 2>/dev/null | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
    [ -n "$found" ] && printf '%s\n' "$rust_version_wanted" "$found" | sort -CV
}

if cargo_is_new_enough cargo; then
    toolchain=path
    ! rustup --version >/dev/null 2>&1 || toolchain=rustup
else
    toolchain=debian
    PATH=/usr/bin:$PATH
fi
export PATH
