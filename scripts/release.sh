#!/bin/sh
# SPDX-License-Identifier: MIT
#
# npm run release [-- --dry-run] [--without-tests]: all of docs/releasing.md that is not publishing.
# Stops at the first thing that is wrong; what is to be published is in build/release, and what a
# person has to do with it is printed. With --dry-run it goes on, says everything that is wrong,
# and leaves nothing behind.
#
# npm run changelog: write CHANGELOG.md.

. "$(dirname "$0")/common.sh"

version=$(node -p 'require("./package.json").version')
tag=v$version

changelog() {
	# --offline: it would ask some hosts who wrote what.
	git-cliff --offline --tag "$tag" 2>/dev/null
}

dry='' tests=1
for option; do
	case $option in
	--changelog)
		sh scripts/setup.sh lint >&2
		changelog >CHANGELOG.md
		exit
		;;
	--dry-run) dry=1 ;;
	--without-tests) tests='' ;;
	*)
		echo "usage: npm run release [-- --dry-run] [--without-tests]" >&2
		exit 2
		;;
	esac
done

sh scripts/setup.sh test
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
to=$PWD/build/release
[ -z "$dry" ] || to=$work/release
wrong=0

# step WHAT COMMAND...: its output only if it fails
step() {
	what=$1
	shift
	if ("$@") >"$work/log" 2>&1; then
		echo "ok - $what"
		return
	fi
	echo "not ok - $what"
	tail -n 40 "$work/log" | sed 's/^/    /'
	wrong=$((wrong + 1))
	[ -n "$dry" ] || exit 1
}

clean() {
	left=$(git status --porcelain)
	[ -z "$left" ] || { echo "$left"; return 1; }
}

untagged() {
	! git rev-parse -q --verify "refs/tags/$tag" || { echo "npm run release:version -- NEXT"; return 1; }
}

complete() {
	git rev-parse --is-shallow-repository | grep -qx false ||
		{ echo "a shallow clone: git fetch --unshallow --tags"; return 1; }
}

changelog_is_current() {
	changelog | diff CHANGELOG.md - || { echo "npm run changelog, and commit that"; return 1; }
}

run_tests() {
	CI=true node scripts/test.mjs
}

# What a clone of the tag has, as a tarball, with which the library can be built.
source_tarball() {
	git archive --format=tar.gz --prefix="mshare-$version/" -o "$to/mshare-$version.tar.gz" HEAD &&
		tar -xzf "$to/mshare-$version.tar.gz" -C "$work" &&
		make -s -j2 -C "$work/mshare-$version/libmshare" &&
		test -f "$work/mshare-$version/libmshare/build/libmshare.so.$version"
}

npm_packages() {
	node scripts/pack.mjs "$to" || return 1
	for package in "$to"/*.tgz; do
		case $package in
		*-"$version".tgz) publint --strict "$package" || return 1 ;;
		*) echo "$package is not $version" && return 1 ;;
		esac
	done
}

debian_packages() {
	DEB_BUILD_OPTIONS=nocheck sh scripts/deb.sh "$to" || return 1
	for package in "$to"/*.deb; do
		[ "$(dpkg-deb -f "$package" Version)" = "$version" ] || return 1
	done
}

# Of what is to be published, and nothing is missing.
sums() {
	cd "$to" && sha256sum -- ./*.tar.gz ./*.tgz ./*.deb >SHA256SUMS
}

echo "mshare $version, at $(git log -1 --format='%h %s')"
step "nothing is uncommitted" clean
step "the version is the same everywhere" node scripts/version.mjs
step "there is no $tag yet" untagged
step "the history is complete" complete
step "CHANGELOG.md is what the log says" changelog_is_current
step "it builds" build
step "the ABI is the one recorded, and goes on from the last release" sh libmshare/test/abi-check
if [ -n "$tests" ]; then
	step "npm test, as in CI, with lint" run_tests
else
	echo "left out, and to be done: npm test, as in CI"
fi
rm -rf "$to"
mkdir -p "$to"
step "the source, as a tarball" source_tarball
step "npm packages" npm_packages
step "Debian packages" debian_packages
step "their sums" sums

if [ "$wrong" -gt 0 ]; then
	echo "$version cannot be released: see what is not ok ($wrong)" >&2
	exit 1
fi

echo
(cd "$to" && ls -l | sed -n 's/.* \([0-9]*\) [A-Z][a-z][a-z] .* \([^ ]*\)$/\1 \2/p' |
	awk '{ printf "%9d  %s\n", $1, $2 }')
cat <<END

What remains, for a person to do (docs/releasing.md):

  git tag -s -m "mshare $version" $tag && git push origin $tag
END
# What others need comes before them.
for package in "$to"/mshare-libmshare-*.tgz "$to"/mshare-core-*.tgz \
	$(ls "$to"/*.tgz | grep -v -e /mshare-libmshare- -e /mshare-core-); do
	echo "  npm publish --access public build/release/${package##*/}"
done
cat <<END
  # and from a machine of each other platform, its own package first: npm run release
  # Then: npm run release:version -- NEXT
END
