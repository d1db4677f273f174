/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ASM_X86_MSHARE_H
#define _ASM_X86_MSHARE_H

#include <linux/mm_types.h>

#include <asm/pgtable.h>

/*
 * A PUD entry that points to a PMD table of another mm. The processor ANDs the
 * R/W bits of all levels, so one that is clear here makes the whole slot
 * read-only for this mm. pud_bad() tolerates that; it would not tolerate NX.
 */
static inline pud_t mshare_mk_pud(pmd_t *pmd, bool write)
{
	return __pud((write ? _PAGE_TABLE : _PAGE_TABLE & ~_PAGE_RW) | __pa(pmd));
}

/* Only for entries that are tables: every other one on x86 is writable. */
static inline bool mshare_pud_table_writable(pud_t pud)
{
	return pud_flags(pud) & _PAGE_RW;
}

/* What a processor compares with when it is switched to mm; each flush raises it. */
static inline u64 mshare_tlb_generation(struct mm_struct *mm)
{
	return atomic64_read(&mm->context.tlb_gen);
}

#endif /* _ASM_X86_MSHARE_H */
