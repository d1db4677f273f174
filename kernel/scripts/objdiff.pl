#!/usr/bin/perl
# SPDX-License-Identifier: GPL-2.0-only
#
# objdiff.pl BEFORE AFTER TOUCHED EXPECTED: the comparison that objdiff is about. BEFORE and AFTER are
# directories of objects (ELF, 64 bits, little-endian), TOUCHED lists those whose source was changed,
# EXPECTED those that may differ, each with a reason.

use strict;
use warnings;
use File::Find;

my ($before, $after, $touched, $expected) = @ARGV;

sub slurp {
	open my $file, '<:raw', $_[0] or die "$_[0]: $!\n";
	local $/;
	return <$file> // '';
}

sub string_at {
	my ($table, $at) = @_;
	return unpack 'Z*', substr $table, $at;
}

# An object as { section => bytes and relocations }, and { function => the same of it }.
sub parse {
	my $elf = slurp($_[0]);
	die "$_[0] is no ELF object\n" unless $elf =~ /^\x7fELF\x02\x01/;
	my ($shoff, $shentsize, $shnum, $shstrndx) = (unpack('Q<', substr $elf, 40, 8), unpack('S<3', substr $elf, 58, 6));
	my @section = map {
		my %s;
		@s{qw(name type flags addr offset size link info align entsize)} =
			unpack 'L<2Q<4L<2Q<2', substr $elf, $shoff + $_ * $shentsize, 64;
		$s{data} = $s{type} == 8 ? "\0" x $s{size} : substr $elf, $s{offset}, $s{size};
		\%s;
	} 0 .. $shnum - 1;
	$_->{name} = string_at($section[$shstrndx]{data}, $_->{name}) for @section;

	my (@symbol, @home, @functions);
	for my $table (grep { $_->{type} == 2 } @section) {
		for my $i (0 .. $table->{size} / 24 - 1) {
			my ($name, $info, $other, $shndx, $value, $size) = unpack 'L<C2S<Q<2', substr $table->{data}, $i * 24, 24;
			$name = string_at($section[$table->{link}]{data}, $name);
			$name = $section[$shndx]{name} if ($info & 15) == 3;
			push @functions, [$shndx, $value, $size, $name] if ($info & 15) == 2;
			$name =~ s/\.\d+$//;
			$name =~ s/(__UNIQUE_ID_\w*?)\d+$/$1/;
			push @symbol, $name;
			# Which section it is a name for.
			push @home, ($info & 15) == 3 ? $shndx : undef;
		}
	}

	my %relocations;
	for my $table (grep { $_->{type} == 4 } @section) {
		for my $i (0 .. $table->{size} / 24 - 1) {
			my ($at, $info, $addend) = unpack 'Q<2q<', substr $table->{data}, $i * 24, 24;
			push @{$relocations{$table->{info}}}, [$at, $info & 0xffffffff, $symbol[$info >> 32], $addend, $home[$info >> 32]];
		}
	}

	# What a relocation of a function refers to, wherever that is now.
	my $target = sub {
		my ($type, $name, $addend, $home) = @_;
		my $to = $addend + ($type == 2 || $type == 4 ? 4 : 0);
		my ($f) = defined $home ? grep { $_->[0] == $home && $to >= $_->[1] && $to < $_->[1] + $_->[2] } @functions : ();
		return $f ? "$f->[3] + " . ($to - $f->[1]) : defined $home && $name !~ /^\.(ro)?data|bss/ ? $name : "$name + $addend";
	};

	my (%sections, %code);
	for my $i (0 .. $#section) {
		my $s = $section[$i];
		# SHF_ALLOC; notes have versions.
		next unless $s->{flags} & 2 && $s->{size} && $s->{type} != 7;
		if ($s->{name} eq '__bug_table') {
			die "$_[0]: __bug_table is not as it was\n" if $s->{size} % 12;
			substr $s->{data}, $_ * 12 + 8, 2, "\0\0" for 0 .. $s->{size} / 12 - 1;
		}
		my @r = sort { $a->[0] <=> $b->[0] } @{$relocations{$i} // []};
		$sections{$s->{name}} .= join "\n", $s->{data}, map { "@$_[0 .. 3]" } @r;
		for my $f (grep { $_->[0] == $i } @functions) {
			my ($start, $end) = ($f->[1], $f->[1] + $f->[2]);
			$code{$f->[3]} = join "\n", substr($s->{data}, $start, $f->[2]),
				map { $_->[0] - $start . " $_->[1] " . $target->(@$_[1 .. 4]) } grep { $_->[0] >= $start && $_->[0] < $end } @r;
		}
	}
	return (\%sections, \%code);
}

sub differing {
	my ($one, $other) = @_;
	my %all = (%$one, %$other);
	return grep { ($one->{$_} // '') ne ($other->{$_} // '') } sort keys %all;
}

my %objects;
for my $top ($before, $after) {
	find({ no_chdir => 1, wanted => sub { $objects{substr $_, 1 + length $top}++ if -f } }, $top);
}
my %is_touched = map { chomp; $_ => 1 } split /^/, slurp($touched);
my %reason = map { /^([^#\s]\S*)\s+(.+)/ ? ($1 => $2) : () } split /^/, slurp($expected);

my %count = (touched => [0, 0], others => [0, 0]);
my $wrong = 0;
for my $object (sort keys %objects) {
	my $count = $count{delete $is_touched{$object} ? 'touched' : 'others'};
	$count->[0]++;
	if ($objects{$object} == 1) {
		print "$object: there is only one\n";
		$wrong = 1;
		next;
	}
	my ($was, $was_code) = parse("$before/$object");
	my ($is, $is_code) = parse("$after/$object");
	my @sections = differing($was, $is);
	if (!@sections) {
		$count->[1]++;
		print "$object: series/objdiff has a reason, and there is no difference\n" if $reason{$object};
		next;
	}
	print "$object: differs in @sections; functions: ", join(' ', differing($was_code, $is_code)) || 'none', "\n";
	print '  ', $reason{$object} // 'NOT EXPECTED', "\n";
	$wrong = 1 unless $reason{$object};
}
print "of $count{touched}[0] objects whose source patches/ change, $count{touched}[1] are the same\n";
print "of $count{others}[0] others, $count{others}[1] are the same\n";
print 'not compiled in this configuration: ', join(' ', sort keys %is_touched), "\n" if %is_touched;
exit $wrong;
