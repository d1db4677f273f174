#!/bin/sh
# SPDX-License-Identifier: MIT
#
# setup.sh build|demo|bench|vm|lint|deb|test|docs: install what that needs and is missing.
#
# Looks for the programs rather than the packages, so that a machine which has
# them from elsewhere is left alone. Without root or sudo it prints the line to
# run and stops with status 1. Installs nothing else and changes nothing else.

. "$(dirname "$0")/common.sh"

purpose=${1:-test}
case $purpose in
build | demo | bench | vm | lint | deb | test | docs) ;;
*)
	echo "usage: $0 build|demo|bench|vm|lint|deb|test|docs" >&2
	exit 2
	;;
esac

# Package (the same in Debian and Ubuntu), the program, header or file looked
# for, who needs it (build: all but lint and docs), and why. scripts/ and CONTRIBUTING.md hold no other list.
prerequisites() {
	cat <<'LIST'
make          make             build        builds libmshare
gcc           gcc              build        compiles libmshare
libc6-dev     <linux/futex.h>  build        headers of libc and of the kernel
binutils      objdump          build        checks which glibc the prebuilt library needs
zlib1g-dev    <zlib.h>         build        the examples read compressed documentation
g++           g++              test         the header from C++; a C++ program against what is installed
clang         clang            test         libmshare builds with both compilers without a warning
clang-format  clang-format     test,lint    the one formatter of C
gcovr         gcovr            test         line coverage of the C sources
strace        strace           test         that mshare_unlink() makes exactly the calls it says
gdb           gdb              test         attachers stopped and dumped by a debugger
go-md2man     go-md2man        deb,test,docs man pages from their Markdown
e2fsprogs     /sbin/mke2fs     test         a file system on a disk, in the guest
mandoc        mandoc           test,docs    that the man pages are good ones; web pages of them
pkg-config    pkg-config       test         programs against what make install has put down
bubblewrap    bwrap            test         what the documents say to type, in a sandbox; a recipe of docs/containers.md
podman        podman           test         the recipes for Docker and Podman there
runc          runc             test         runs its containers, with cgroups of either version
abigail-tools abidiff          test         that the ABI of libmshare is what it was
dpkg-dev      dpkg-buildpackage deb,test    builds the Debian packages
debhelper     dh               deb,test     the same
lintian       lintian          test         that they are good ones
postgresql    /usr/lib/postgresql/*/bin/postgres test,bench a server that forks, unmodified, with shared page tables
nginx         /usr/sbin/nginx  test         another one
curl          curl             test         asks it
tmux          tmux             test         a terminal for mshare top, which can be asked what it shows
zsh           zsh              test         completion of mshare's arguments in it
fish          fish             test         the same
qemu-system-x86 qemu-system-x86_64 vm,test,bench boots the test kernel
linux-source-6.12 /usr/src/linux-source-6.12.tar.xz vm,test,bench the kernel that kernel/ changes
xz-utils      xz               vm,test,bench unpacks it
patch         patch            vm,test,bench applies kernel/patches
flex          flex             vm,test,bench builds the kernel's configuration tool
bison         bison            vm,test,bench the same
bc            bc               vm,test,bench computes a header of the kernel
perl          perl             vm,test,bench generates tables of the kernel
libelf-dev    <gelf.h>         vm,test,bench builds the kernel's objtool
ccache        ccache           vm,test,bench a kernel after an edit in seconds, not minutes
LIST
}

has() {
	case $1 in
	/*) set -- $1 && [ -e "$1" ] ;; # a pattern
	"<"*) echo "#include $1" | "${CC:-cc}" -E - >/dev/null 2>&1 ;;
	# A compiler named in CC stands in for gcc.
	gcc) command -v "${CC:-gcc}" >/dev/null 2>&1 ;;
	*) command -v "$1" >/dev/null 2>&1 ;;
	esac
}

missing=
reasons=
while read -r package program needs why; do
	case ",$needs," in
	*",$purpose,"*) ;;
	,build,) case $purpose in lint | docs) continue ;; esac ;;
	*) continue ;;
	esac
	if ! has "$program"; then
		missing="$missing $package"
		reasons="$reasons
  $package: $why"
	fi
done <<END
$(prerequisites)
END

# Node comes first: without it nothing below can be told apart.
if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
	echo "mshare needs Node.js 20 or newer, with npm: https://nodejs.org/" >&2
	exit 1
fi
node_major=$(node -p 'process.versions.node.split(".")[0]')
if [ "$node_major" -lt 20 ]; then
	echo "mshare needs Node.js 20 or newer; $(command -v node) is $(node -v)" >&2
	exit 1
fi

if [ -n "$missing" ]; then
	echo "Missing for \"npm run $purpose\":$reasons"
	if [ -n "${MSHARE_VM-}" ]; then
		echo "The guest has what the host has, and no network: install them there." >&2
		exit 1
	fi
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "There is no apt-get here: install them with what this system has, then try again." >&2
		exit 1
	fi
	install="apt-get install -y --no-install-recommends$missing"
	if [ "$(id -u)" -eq 0 ]; then
		as_root=
	elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
		as_root="sudo -n"
	else
		echo "Installing them takes root. Run this, then try again:" >&2
		echo >&2
		echo "  sudo apt-get update && sudo $install" >&2
		echo >&2
		exit 1
	fi
	echo "Installing them: $as_root $install"
	# A server that is installed for tests is not to be started: Debian asks this, where it is.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
		$as_root chmod 755 $policy
		trap '$as_root rm -f $policy' EXIT
		trap 'exit 1' HUP INT TERM
	fi
	# shellcheck disable=SC2086 # lists of words, both
	# What apt has to say is of interest if it fails; that is on stderr.
	if ! {
		$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null &&
			$as_root env DEBIAN_FRONTEND=noninteractive $install -qq >/dev/null
	}; then
		echo "apt-get failed. By hand: sudo apt-get update && sudo $install" >&2
		exit 1
	fi
fi

if ! node scripts/installed.mjs; then
	echo "Installing the npm packages: npm ci"
	npm ci
fi
