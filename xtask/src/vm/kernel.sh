# kernel.sh LINE: fetches Debian's newest stock kernel of a line, such as 6.12, for virtual machines, into the folder LINE
# below the one it runs in: `release`, `vmlinuz`, and in `modules` those that the tests need, uncompressed, by name in the
# order to load them. By an apt of its own, which knows suites that this machine may not have, installs nothing, touches no
# file outside, and checks packages with Debian's keys.
set -euo pipefail

keys=/usr/share/keyrings/debian-archive-keyring.gpg
# Small suites that together have every long-term kernel of Debian's releases, and recent ones.
suites="debian-security/bullseye-security debian-security/bookworm-security debian-security/trixie-security
    debian/trixie-backports"
# Each after those it depends on.
modules="llc stp bridge veth inet_diag tcp_diag libcrc32c nfnetlink nf_tables x_tables"

# The release with the highest version among package names, of the flavour for virtual machines. Other kinds have a word
# before the version (`unsigned-`, `rt-`); with two figures it is a name for whatever is newest.
newest() {
    sed -nE 's/^linux-(image|binary)-//p' | grep -E "^${1//./[.]}[.][0-9].*-cloud-amd64$" | sort --version-sort | tail -n 1 || true
}

fetch() {
    local line=$1 apt=$PWD/apt part=$PWD/$1.part suite release names packages number=10 module file
    [[ -e $keys ]] || { echo "Debian's keys are not here: install debian-archive-keyring" >&2; exit 1; }
    mkdir -p "$apt"/lists/partial "$apt"/archives/partial
    for suite in $suites; do
        echo "deb [signed-by=$keys] http://deb.debian.org/${suite%/*} ${suite#*/} main"
    done >"$apt/sources.list"
    : >"$apt/status"
    cat >"$apt/apt.conf" <<EOF
Dir::State "$apt"; Dir::State::lists "$apt/lists"; Dir::State::status "$apt/status"; Dir::Cache "$apt";
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64"; APT::Sandbox::User ""; APT::Update::Post-Invoke-Success {};
Acquire::Languages "none"; Acquire::Retries "2";
EOF
    export APT_CONFIG=$apt/apt.conf
    apt-get --quiet --error-on=any update >/dev/null
    names=$(apt-cache pkgnames linux-)
    release=$(newest "$line" <<<"$names")
    [[ -n $release ]] || { echo "Debian has no Linux $line (any more)" >&2; exit 1; }
    # One package, or in later releases one for the kernel and one for the modules.
    packages="linux-image-$release"
    if grep -qxF "linux-modules-$release" <<<"$names"; then
        packages="linux-binary-$release linux-modules-$release"
    fi
    rm -rf "$part"
    mkdir -p "$part"/modules "$part"/unpacked "$part"/download
    # shellcheck disable=SC2086
    (cd "$part/download" && apt-get --quiet download $packages >/dev/null)
    for file in "$part"/download/*.deb; do
        dpkg-deb --extract "$file" "$part/unpacked"
    done
    find "$part/unpacked" -type f \( -path "*/boot/vmlinuz-$release" -o -path "*/modules/$release/vmlinuz" \) \
        -exec cp {} "$part/vmlinuz" \;
    [[ -e $part/vmlinuz ]] || { echo "the package has no kernel where kernels are" >&2; exit 1; }
    for module in $modules; do
        file=$(find "$part/unpacked" -type f \( -name "$module.ko" -o -name "$module.ko.xz" \) -print -quit)
        case $file in
        *.xz) xz --decompress --stdout "$file" >"$part/modules/$number-$module.ko" ;;
        *.ko) cp "$file" "$part/modules/$number-$module.ko" ;;
        esac
        number=$((number + 1))
    done
    printf %s "$release" >"$part/release"
    rm -rf "$part"/unpacked "$part"/download
    # Last, so that it is whole or not there.
    mv "$part" "$PWD/$line"
}

[[ $# -eq 0 ]] || fetch "$1"
