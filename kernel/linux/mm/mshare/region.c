// SPDX-License-Identifier: GPL-2.0-only
/*
 * mshare: what is in a region. Mapping, unmapping, protecting and advising work
 * on the VMAs of the region's host mm; the rest of mm does what it does for any
 * mm, and flush.c carries it to the attachers.
 *
 * do_mmap() and its kin know no mm but current's. So what they check before they
 * come to the VMA is checked here.
 */
#include <linux/backing-dev.h>
#include <linux/dax.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <linux/mount.h>
#include <linux/security.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include <asm/tlb.h>

#include "../internal.h"
#include "../vma.h"
#include "mshare.h"

#define PROT_BITS	(PROT_READ | PROT_WRITE | PROT_EXEC)
#define MAP_REQUIRED	(MAP_SHARED | MAP_FIXED)
#define MAP_KNOWN	(MAP_REQUIRED | MAP_ANONYMOUS | MAP_NORESERVE | \
			 MAP_POPULATE)

static unsigned long host_address(u64 offset)
{
	return MSHARE_HOST_BASE + offset;
}

static bool is_memory(struct mshare_region *region, struct vm_area_struct *vma)
{
	return vma->vm_file == region->memory;
}

/* ---- birth and death ---------------------------------------------------- */

void mshare_region_init(struct mshare_region *region, struct super_block *sb)
{
	memset(region, 0, sizeof(*region));
	mutex_init(&region->lock);
	spin_lock_init(&region->attach_lock);
	INIT_LIST_HEAD(&region->attachments);
	region->sb = sb;
	region->memcg = get_mem_cgroup_from_mm(current->mm);
	mshare_debug_add(regions, 1);
}

/* Nobody has the inode any more: no file, no attachment. */
void mshare_region_destroy(struct mshare_region *region)
{
	if (region->mm) {
		/* exit_mmap() frees the tables under VMAs, and only these. */
		mshare_free_stale_tables(region);
		mmput(region->mm);

		/* What it was charged for was never its size. */
		i_size_write(file_inode(region->memory), 0);
		fput(region->memory);
		mshare_uncharge_pages(region->sb, region->reserved);
	}
	mem_cgroup_put(region->memcg);
	mutex_destroy(&region->lock);
	mshare_debug_add(regions, -1);
}

/*
 * A host mm is locked below the mm of who faults or calls, which is of the same
 * class otherwise.
 */
static struct lock_class_key mshare_mmap_lock_key;

static struct mm_struct *host_mm_alloc(struct mshare_region *region)
{
	struct mm_struct *mm = mm_alloc();

	if (!mm)
		return NULL;
	lockdep_set_class(&mm->mmap_lock, &mshare_mmap_lock_key);
	mm->mshare = region;
	/* Some of what mm_alloc() takes from its caller is not about a region. */
	mm->flags = 0;
	mm->def_flags = 0;
	mm->task_size = TASK_SIZE_MAX;
#ifdef CONFIG_MEMCG
	/* The creator may go; get_mem_cgroup_from_mm() asks the region. */
	RCU_INIT_POINTER(mm->owner, NULL);
#endif
	return mm;
}

/**
 * mshare_region_reserve - give a region its window, once
 * @inode: of the region; its size becomes the window
 * @size: bytes, a multiple of MSHARE_ALIGN
 * @base: where attachments want to be, a multiple of it too, or 0
 *
 * Return: 0, or -EEXIST (it has one), -EINVAL, -EFBIG, -ENOMEM, -EINTR (killed)
 */
int mshare_region_reserve(struct inode *inode, u64 size, u64 base)
{
	struct mshare_region *region = mshare_inode_region(inode);
	struct mm_struct *mm;
	struct file *memory;
	int err = -ENOMEM;

	if (!size || !IS_ALIGNED(size, MSHARE_ALIGN) ||
	    !IS_ALIGNED(base, MSHARE_ALIGN))
		return -EINVAL;
	if (size > MSHARE_MAX_WINDOW)
		return -EFBIG;
	if (base > TASK_SIZE_MAX - size)
		return -EINVAL;

	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	if (region->mm) {
		err = -EEXIST;
		goto out;
	}

	/*
	 * One file for all the memory of the region: what touches merges, and
	 * huge pages are aligned as the region is. Its size is the window,
	 * which nobody pays for; what is mapped without MAP_NORESERVE is
	 * accounted by the VMAs (VM_ACCOUNT) and against the mount.
	 */
	memory = shmem_kernel_file_setup("msharefs", 0, 0);
	if (IS_ERR(memory)) {
		/* shmem says -ENOSPC if it has no memory for an inode. */
		if (PTR_ERR(memory) != -ENOSPC)
			err = PTR_ERR(memory);
		goto out;
	}
	mm = host_mm_alloc(region);
	if (!mm) {
		fput(memory);
		goto out;
	}
	i_size_write(file_inode(memory), size);
	region->memory = memory;
	region->window = size;
	WRITE_ONCE(region->base, base);
	i_size_write(inode, size);
	/* Pairs with mshare_region_mm(), for those who do not take the lock. */
	smp_store_release(&region->mm, mm);
	err = 0;
out:
	mutex_unlock(&region->lock);
	return err;
}

/* ---- who pays ----------------------------------------------------------- */

#ifdef CONFIG_MEMCG
struct mem_cgroup *mshare_memcg(struct mm_struct *mm)
{
	return mshare_region_memcg(mm->mshare);
}

struct mem_cgroup *mshare_get_memcg(struct mm_struct *mm)
{
	struct mem_cgroup *memcg = mm->mshare->memcg;

	if (mem_cgroup_disabled())
		return NULL;

	/* Ancestors are kept by their descendants; the root is always online. */
	rcu_read_lock();
	while (memcg && !css_tryget_online(&memcg->css))
		memcg = parent_mem_cgroup(memcg);
	rcu_read_unlock();
	return memcg ?: root_mem_cgroup;
}
#endif

bool mshare_is_charging(void)
{
	return current->in_mshare_charge;
}

/* ---- contents ----------------------------------------------------------- */

/* Whole pages inside the window, at least one. */
static int range_check(struct mshare_region *region, u64 offset, u64 size)
{
	if (!region->mm)
		return -ENODATA;
	if (!size || !PAGE_ALIGNED(offset) || !PAGE_ALIGNED(size))
		return -EINVAL;
	if (size > region->window || offset > region->window - size)
		return -EINVAL;
	return 0;
}

/* Every page of [start, end) has a VMA. The mmap_lock of mm is held. */
static bool range_is_mapped(struct mm_struct *mm, unsigned long start,
			    unsigned long end)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, start);

	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > start)
			return false;
		start = vma->vm_end;
	}
	return start >= end;
}

/*
 * Files whose pages are in the page cache, and nothing else: what else ->mmap()
 * of this or that driver puts into page tables, attachers would reach before it
 * could be judged. By the file system, since sysfs and the like have regular
 * files that map devices. This leaves out overlayfs, FUSE and network file
 * systems.
 */
static bool is_ordinary_file(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (!S_ISREG(inode->i_mode) || IS_DAX(inode) || is_file_hugepages(file))
		return false;
	return shmem_mapping(file->f_mapping) ||
	       (inode->i_sb->s_type->fs_flags & FS_REQUIRES_DEV &&
		inode->i_sb->s_magic != FUSE_SUPER_MAGIC);
}

/* As do_mmap() for MAP_SHARED; adds to *vm_flags, or takes away. */
static int file_check(struct file *file, u64 offset, u64 size, u32 prot,
		      vm_flags_t *vm_flags)
{
	struct inode *inode = file_inode(file);

	if (mshare_is_region(file))
		return -EINVAL;
	if (!is_ordinary_file(file) || !file->f_op->mmap)
		return -EOPNOTSUPP;
	if (!PAGE_ALIGNED(offset))
		return -EINVAL;
	if (offset > MAX_LFS_FILESIZE || size > MAX_LFS_FILESIZE - offset)
		return -EOVERFLOW;
	if (!(file->f_mode & FMODE_READ))
		return -EACCES;
	if (prot & PROT_WRITE) {
		if (!(file->f_mode & FMODE_WRITE))
			return -EACCES;
		if (IS_SWAPFILE(inode))
			return -ETXTBSY;
	}
	if (IS_APPEND(inode) && file->f_mode & FMODE_WRITE)
		return -EACCES;
	if (!(file->f_mode & FMODE_WRITE))
		*vm_flags &= ~(VM_MAYWRITE | VM_SHARED);
	if (path_noexec(&file->f_path)) {
		if (prot & PROT_EXEC)
			return -EPERM;
		*vm_flags &= ~VM_MAYEXEC;
	}
	return memfd_check_seals_mmap(file, vm_flags);
}

/*
 * Put a VMA into the host mm, where there is none: __mmap_region() without what
 * is about the caller. The mmap_lock is held for writing; nothing is changed on
 * failure.
 */
static int insert_mapping(struct mm_struct *mm, unsigned long addr,
			  unsigned long size, vm_flags_t vm_flags,
			  struct file *file, pgoff_t pgoff)
{
	unsigned long end = addr + size;
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, addr);
	VMG_STATE(vmg, mm, &vmi, addr, end, vm_flags, pgoff);
	int err;

	vmg.file = file;
	vmg.next = vma_iter_next_rewind(&vmi, &vmg.prev);
	vma = vma_merge_new_range(&vmg);
	if (vma)
		goto merged;

	vma = vm_area_alloc(mm);
	if (!vma)
		return -ENOMEM;
	vma_iter_config(&vmi, addr, end);
	vma_set_range(vma, addr, end, pgoff);
	vm_flags_init(vma, vm_flags);
	vma->vm_page_prot = vm_get_page_prot(vm_flags);

	err = vma_iter_prealloc(&vmi, vma);
	if (err)
		goto free_vma;

	vma->vm_file = get_file(file);
	err = mmap_file(file, vma);
	if (err)
		goto put_file;
	/* Page cache it is: is_ordinary_file() has seen to that. */
	if (WARN_ON_ONCE(vma->vm_start != addr || !vma->vm_ops ||
			 !vma->vm_ops->fault ||
			 vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP))) {
		err = -EOPNOTSUPP;
		vma_close(vma);
		goto put_file;
	}

	vma_start_write(vma);
	vma_iter_store(&vmi, vma);
	mm->map_count++;
	vma_link_file(vma);
	vm_flags = vma->vm_flags;
merged:
	vm_stat_account(mm, vm_flags, size >> PAGE_SHIFT);
	vma_set_page_prot(vma);
	return 0;

put_file:
	fput(vma->vm_file);
	vma->vm_file = NULL;
	vma_iter_free(&vmi);
free_vma:
	vm_area_free(vma);
	return err;
}

/* Reserve memory for a mapping: the mount's share first, then the system's. */
static int charge(struct mshare_region *region, unsigned long pages)
{
	int err = mshare_charge_pages(region->sb, pages);

	if (err)
		return err;
	err = security_vm_enough_memory_mm(region->mm, pages);
	if (err)
		mshare_uncharge_pages(region->sb, pages);
	else
		region->reserved += pages;
	return err;
}

/* The VMAs' unmapping gives back what the system had reserved. */
static void uncharge(struct mshare_region *region, unsigned long pages)
{
	mshare_uncharge_pages(region->sb, pages);
	region->reserved -= pages;
}

/* madvise() in the host mm, on the region's bill. */
static int advise_host(struct mshare_region *region, unsigned long addr,
		       unsigned long size, int advice)
{
	struct mem_cgroup *before = mshare_charge_begin(region);
	int err = do_madvise(region->mm, addr, size, advice);

	mshare_charge_end(before);
	return err;
}

/*
 * Map a range of the region's own memory (file is NULL) or of a file, with what
 * attachers may do there at most; range and flags have been checked.
 */
static int map_range(struct file *region_file, struct mshare_region *region,
		     const struct mshare_create *args, struct file *file,
		     vm_flags_t may)
{
	vm_flags_t vm_flags = VM_SHARED | VM_MAYSHARE | VM_SOFTDIRTY | may |
			      calc_vm_prot_bits(args->prot, 0);
	struct mm_struct *mm = region->mm;
	unsigned long addr = host_address(args->region_offset);
	unsigned long size = args->size;
	bool writable = false;
	pgoff_t pgoff;
	int err;

	if (path_noexec(&region_file->f_path)) {
		if (args->prot & PROT_EXEC)
			return -EPERM;
		vm_flags &= ~VM_MAYEXEC;
	}
	if (!file) {
		pgoff = args->region_offset >> PAGE_SHIFT;
		/* As in do_mmap(): only who may overcommit does. */
		if (args->flags & MAP_NORESERVE &&
		    sysctl_overcommit_memory != OVERCOMMIT_NEVER)
			vm_flags |= VM_NORESERVE;
		else
			vm_flags |= VM_ACCOUNT;
	} else {
		pgoff = args->offset >> PAGE_SHIFT;
		err = file_check(file, args->offset, size, args->prot,
				 &vm_flags);
		if (err)
			return err;
	}

	err = security_mmap_file(file, args->prot, args->flags);
	if (err)
		return err;
	if (map_deny_write_exec(vm_flags, vm_flags))
		return -EACCES;
	if (!arch_validate_flags(vm_flags))
		return -EINVAL;

	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = -EINTR;
	if (mmap_write_lock_killable(mm))
		goto unlock;

	err = -EEXIST;
	if (find_vma_intersection(mm, addr, addr + size))
		goto unlock_mm;
	err = -ENOMEM;
	if (mm->map_count > sysctl_max_map_count)
		goto unlock_mm;
	if (vm_flags & VM_ACCOUNT) {
		err = charge(region, size >> PAGE_SHIFT);
		if (err)
			goto unlock_mm;
	}
	/* From here to the VMA, the file's seals stay as they are. */
	if (file && is_shared_maywrite(vm_flags)) {
		err = mapping_map_writable(file->f_mapping);
		if (err)
			goto unlock_mm;
		writable = true;
	}

	err = insert_mapping(mm, addr, size, vm_flags, file ?: region->memory,
			     pgoff);
	if (writable)
		mapping_unmap_writable(file->f_mapping);
	if (!err) {
		region->generation++;
	} else if (vm_flags & VM_ACCOUNT) {
		vm_unacct_memory(size >> PAGE_SHIFT);
		uncharge(region, size >> PAGE_SHIFT);
	}
unlock_mm:
	validate_mm(mm);
	mmap_write_unlock(mm);
unlock:
	mutex_unlock(&region->lock);
	/* As far as it goes: a fault does the rest. */
	if (!err && args->flags & MAP_POPULATE)
		advise_host(region, addr, size, args->prot & PROT_WRITE ?
			    MADV_POPULATE_WRITE : MADV_POPULATE_READ);
	return err;
}

static int map_check(struct mshare_region *region,
		     const struct mshare_create *args, u32 known)
{
	if (args->prot & ~PROT_BITS)
		return -EINVAL;
	if (args->flags & MAP_HUGETLB)
		return -EOPNOTSUPP;
	if ((args->flags & MAP_REQUIRED) != MAP_REQUIRED ||
	    args->flags & ~known)
		return -EINVAL;
	return range_check(region, args->region_offset, args->size);
}

static int mshare_map(struct file *region_file, struct mshare_region *region,
		      const struct mshare_create *args)
{
	vm_flags_t may = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
	int err = map_check(region, args, MAP_KNOWN);
	struct file *file;

	if (err)
		return err;
	if (args->flags & MAP_ANONYMOUS) {
		if (args->fd != (u32)-1)
			return -EINVAL;
		return map_range(region_file, region, args, NULL, may);
	}

	file = fget(args->fd);
	if (!file)
		return -EBADF;
	err = map_range(region_file, region, args, file, may);
	fput(file);
	return err;
}

/*
 * The file of the caller's shared mapping that has all of [addr, addr + size),
 * where addr is in it, and what may be done with it.
 */
static struct file *mapped_file(u64 addr, u64 size, u64 *offset,
				vm_flags_t *may)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	struct file *file, *other;

	if (!PAGE_ALIGNED(addr))
		return ERR_PTR(-EINVAL);
	if (mmap_read_lock_killable(mm))
		return ERR_PTR(-EINTR);
	vma = vma_lookup(mm, addr);
	if (!vma || size > vma->vm_end - addr) {
		file = ERR_PTR(-ENOMEM);
	} else if (!vma->vm_file || !(vma->vm_flags & VM_MAYSHARE) ||
		   vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP) ||
		   vma->vm_file->f_mode & FMODE_BACKING) {
		/* Private, a driver's, or of a file system upon another. */
		file = ERR_PTR(-EOPNOTSUPP);
	} else {
		file = get_file(vma->vm_file);
		*offset = ((u64)vma->vm_pgoff << PAGE_SHIFT) +
			  (addr - vma->vm_start);
		*may = vma->vm_flags & (VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	}
	mmap_read_unlock(mm);
	if (IS_ERR(file) || file->f_op == file_inode(file)->i_fop)
		return file;

	/*
	 * Another interface to somebody's memory, such as a System V segment's,
	 * which counts who has it mapped: the memory itself is what is wanted.
	 */
	other = ERR_PTR(-EOPNOTSUPP);
	if (shmem_mapping(file->f_mapping))
		other = dentry_open(&file->f_path, O_LARGEFILE |
				    (*may & VM_MAYWRITE ? O_RDWR : O_RDONLY),
				    current_cred());
	fput(file);
	return other;
}

static int mshare_map_mapped(struct file *region_file,
			     struct mshare_region *region,
			     const struct mshare_map_mapped *mapped)
{
	struct mshare_create args = {
		.region_offset = mapped->region_offset,
		.size = mapped->size,
		.prot = mapped->prot,
		.flags = mapped->flags,
	};
	int err = map_check(region, &args, MAP_REQUIRED | MAP_POPULATE);
	struct file *file;
	vm_flags_t may;

	if (err)
		return err;
	file = mapped_file(mapped->addr, mapped->size, &args.offset, &may);
	if (IS_ERR(file))
		return PTR_ERR(file);
	/* VM_MAY* are VM_* shifted by four. */
	if (calc_vm_prot_bits(args.prot, 0) & ~(may >> 4) & VM_ACCESS_FLAGS)
		err = -EACCES;
	else
		err = map_range(region_file, region, &args, file, may);
	fput(file);
	return err;
}

/*
 * Unmap, then free the memory: nothing maps it any more, so that no fault can
 * bring a page back, and @lock keeps others from mapping it before it is empty.
 */
static int mshare_unmap(struct mshare_region *region,
			const struct mshare_unmap *args)
{
	struct mm_struct *mm = region->mm;
	unsigned long start = host_address(args->region_offset);
	unsigned long end = start + args->size;
	unsigned long accounted = 0;
	struct vm_area_struct *vma, *first = NULL;
	VMA_ITERATOR(vmi, mm, start);
	int err;

	err = range_check(region, args->region_offset, args->size);
	if (err)
		return err;
	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = -EINTR;
	if (mmap_write_lock_killable(mm))
		goto unlock;
	err = 0;
	for_each_vma_range(vmi, vma, end) {
		if (!first)
			first = vma;
		if (vma->vm_flags & VM_ACCOUNT)
			accounted += min(vma->vm_end, end) -
				     max(vma->vm_start, start);
	}
	if (!first) {
		mmap_write_unlock(mm);
		goto unlock;
	}
	vma_iter_set(&vmi, first->vm_start);
	vma_iter_load(&vmi);
	err = do_vmi_align_munmap(&vmi, first, mm, start, end, NULL, false);
	mmap_write_unlock(mm);
	if (!err) {
		shmem_truncate_range(file_inode(region->memory),
				     args->region_offset,
				     args->region_offset + args->size - 1);
		uncharge(region, accounted >> PAGE_SHIFT);
		region->generation++;
	}
unlock:
	mutex_unlock(&region->lock);
	return err;
}

/* May a VMA be protected so? As do_mprotect_pkey(). */
static int protection_permitted(struct vm_area_struct *vma, u32 prot)
{
	vm_flags_t flags = (vma->vm_flags & ~VM_ACCESS_FLAGS) |
			   calc_vm_prot_bits(prot, 0);

	/* VM_MAY* are VM_* shifted by four. */
	if ((flags & ~(flags >> 4)) & VM_ACCESS_FLAGS)
		return -EACCES;
	if (map_deny_write_exec(vma->vm_flags, flags))
		return -EACCES;
	if (!arch_validate_flags(flags))
		return -EINVAL;
	return security_file_mprotect(vma, prot, prot);
}

/*
 * May all of the range be protected so? A hole is what is told first, wherever
 * it is. Tells which VMAs the range begins and ends in.
 */
static int protect_check(struct mm_struct *mm, unsigned long start,
			 unsigned long end, u32 prot,
			 struct vm_area_struct **first,
			 struct vm_area_struct **last)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, start);
	int err = 0;

	*first = NULL;
	for_each_vma_range(vmi, vma, end) {
		if (vma->vm_start > start)
			return -ENOMEM;
		start = vma->vm_end;
		if (!*first)
			*first = vma;
		*last = vma;
		if (!err)
			err = protection_permitted(vma, prot);
	}
	return start >= end ? err : -ENOMEM;
}

/* Have vma begin at addr, and another one end there, if addr is within it. */
static int split_at(struct vm_area_struct *vma, unsigned long addr)
{
	VMA_ITERATOR(vmi, vma->vm_mm, addr);

	if (addr <= vma->vm_start || addr >= vma->vm_end)
		return 0;
	if (vma->vm_mm->map_count >= sysctl_max_map_count)
		return -ENOMEM;
	vma_iter_load(&vmi);
	return split_vma(&vmi, vma, addr, 1);
}

/*
 * Join what a change of [start, end) has made alike, also with what is beside
 * it. Memory or none, nothing is lost. vma_modify_flags() has the last word on
 * whether two VMAs can be one, and asks the tree for it.
 */
static void merge_range(struct mm_struct *mm, unsigned long start,
			unsigned long end)
{
	struct vm_area_struct *vma, *prev = NULL;
	VMA_ITERATOR(vmi, mm, start - 1);

	for_each_vma_range(vmi, vma, end + 1) {
		if (prev && prev->vm_end == vma->vm_start &&
		    prev->vm_flags == vma->vm_flags &&
		    prev->vm_file == vma->vm_file) {
			vma = vma_modify_flags(&vmi, prev, vma, vma->vm_start,
					       vma->vm_end, vma->vm_flags);
			if (IS_ERR(vma))
				return;
			vma_iter_set(&vmi, vma->vm_end - 1);
			vma_iter_load(&vmi);
		}
		prev = vma;
	}
}

/*
 * mprotect() for all or nothing: what can fail comes first, splitting at the
 * ends, which changes nothing that anybody sees; then flags and page tables,
 * which cannot; then merging, which need not succeed.
 */
static int mshare_protect(struct file *region_file,
			  struct mshare_region *region,
			  const struct mshare_protect *args)
{
	struct mm_struct *mm = region->mm;
	unsigned long start = host_address(args->region_offset);
	unsigned long end = start + args->size;
	struct vm_area_struct *vma, *first, *last;
	struct mmu_gather tlb;
	VMA_ITERATOR(vmi, mm, start);
	int err;

	if (args->flags || args->prot & ~PROT_BITS)
		return -EINVAL;
	err = range_check(region, args->region_offset, args->size);
	if (err)
		return err;
	if (args->prot & PROT_EXEC && path_noexec(&region_file->f_path))
		return -EPERM;
	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = -EINTR;
	if (mmap_write_lock_killable(mm))
		goto unlock;
	err = protect_check(mm, start, end, args->prot, &first, &last);
	if (err)
		goto unlock_mm;
	err = split_at(first, start);
	if (!err)
		err = split_at(last, end);
	if (err) {
		/* The second one: the first is not needed, then. */
		merge_range(mm, start, start);
		goto unlock_mm;
	}

	tlb_gather_mmu(&tlb, mm);
	for_each_vma_range(vmi, vma, end) {
		vm_flags_t old = vma->vm_flags;
		vm_flags_t new = (old & ~VM_ACCESS_FLAGS) |
				 calc_vm_prot_bits(args->prot, 0);
		unsigned int cp_flags = 0;

		if (old == new)
			continue;
		vma_start_write(vma);
		vm_flags_reset(vma, new);
		if (vma_wants_manual_pte_write_upgrade(vma))
			cp_flags |= MM_CP_TRY_CHANGE_WRITABLE;
		vma_set_page_prot(vma);
		change_protection(&tlb, vma, vma->vm_start, vma->vm_end,
				  cp_flags);
		vm_stat_account(mm, old, -(long)vma_pages(vma));
		vm_stat_account(mm, new, vma_pages(vma));
	}
	tlb_finish_mmu(&tlb);
	merge_range(mm, start, end);
	region->generation++;
unlock_mm:
	validate_mm(mm);
	mmap_write_unlock(mm);
unlock:
	mutex_unlock(&region->lock);
	return err;
}

static bool advice_is_known(u32 advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_REMOVE:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return true;
	default:
		return false;
	}
}

static int mshare_advise(struct mshare_region *region,
			 const struct mshare_advise *args)
{
	bool fills = args->advice == MADV_POPULATE_READ ||
		     args->advice == MADV_POPULATE_WRITE;
	struct mm_struct *mm = region->mm;
	unsigned long start = host_address(args->region_offset);
	unsigned long end = start + args->size;
	int err;

	if (args->flags || !advice_is_known(args->advice))
		return -EINVAL;
	err = range_check(region, args->region_offset, args->size);
	if (err)
		return err;

	/* What is mapped stays mapped for as long as the lock is held. */
	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = -EINTR;
	if (mmap_read_lock_killable(mm))
		goto unlock;
	err = range_is_mapped(mm, start, end) ? 0 : -ENOMEM;
	if (!err && args->advice == MADV_REMOVE) {
		struct vm_area_struct *vma;
		VMA_ITERATOR(vmi, mm, start);

		/* A file is its owner's: who may map it may not punch holes. */
		for_each_vma_range(vmi, vma, end)
			if (!is_memory(region, vma))
				err = -EOPNOTSUPP;
	}
	mmap_read_unlock(mm);
	if (!err && !fills)
		err = advise_host(region, start, args->size, args->advice);
unlock:
	mutex_unlock(&region->lock);

	/* Filling takes long, and finds for itself what has been unmapped. */
	if (!err && fills)
		err = advise_host(region, start, args->size, args->advice);
	return err;
}

static int mshare_set_base(struct mshare_region *region,
			   const struct mshare_base *args)
{
	int err;

	if (args->flags || args->reserved)
		return -EINVAL;
	if (!region->mm)
		return -ENODATA;
	if (!args->base || !IS_ALIGNED(args->base, MSHARE_ALIGN) ||
	    args->base > TASK_SIZE_MAX - region->window)
		return -EINVAL;
	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	err = region->base ? -EEXIST : 0;
	if (!err)
		WRITE_ONCE(region->base, args->base);
	mutex_unlock(&region->lock);
	return err;
}

/* ---- asking ------------------------------------------------------------- */

static void describe(struct mshare_region *region, struct vm_area_struct *vma,
		     struct mshare_mapping_entry *entry)
{
	*entry = (struct mshare_mapping_entry) {
		.region_offset = vma->vm_start - MSHARE_HOST_BASE,
		.size = vma->vm_end - vma->vm_start,
		.prot = (vma->vm_flags & VM_READ ? PROT_READ : 0) |
			(vma->vm_flags & VM_WRITE ? PROT_WRITE : 0) |
			(vma->vm_flags & VM_EXEC ? PROT_EXEC : 0),
		.flags = (vma->vm_flags & VM_NORESERVE ? MAP_NORESERVE : 0) |
			 (is_memory(region, vma) ? MAP_ANONYMOUS : 0),
	};
}

/*
 * The runs that end above start: several VMAs may make one. Up to room of them
 * to entries, if not NULL. The mmap_lock is held. Returns how many.
 */
static unsigned int list_runs(struct mshare_region *region, u64 start,
			      struct mshare_mapping_entry *entries,
			      unsigned int room)
{
	struct mshare_mapping_entry run = {}, next;
	struct vm_area_struct *vma;
	unsigned int count = 0;
	VMA_ITERATOR(vmi, region->mm, host_address(start));

	for_each_vma(vmi, vma) {
		describe(region, vma, &next);
		if (run.size && next.region_offset == run.region_offset + run.size &&
		    next.prot == run.prot && next.flags == run.flags) {
			run.size += next.size;
			continue;
		}
		if (run.size) {
			if (entries)
				entries[count] = run;
			if (++count == room)
				return count;
		}
		run = next;
	}
	if (run.size) {
		if (entries)
			entries[count] = run;
		count++;
	}
	return count;
}

static int mshare_info(struct mshare_region *region,
		       struct mshare_region_info *info)
{
	struct mm_struct *mm = mshare_region_mm(region);
	u64 shmem, files;

	memset(info, 0, sizeof(*info));
	if (!mm)
		return 0;

	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	mmap_read_lock(mm);
	info->window = region->window;
	info->base = region->base;
	info->mapped = (u64)mm->total_vm << PAGE_SHIFT;
	/*
	 * Memory that no table maps at the moment is resident all the same; of
	 * files, shmem's among them, what tables map.
	 */
	shmem = percpu_counter_sum_positive(&mm->rss_stat[MM_SHMEMPAGES]);
	files = percpu_counter_sum_positive(&mm->rss_stat[MM_FILEPAGES]);
	info->resident = (max_t(u64, shmem, region->memory->f_mapping->nrpages) +
			  files) << PAGE_SHIFT;
	info->page_table_bytes = mm_pgtables_bytes(mm) +
				 sizeof(pgd_t) * PTRS_PER_PGD;
	info->generation = region->generation;
	info->mappings = list_runs(region, 0, NULL, UINT_MAX);
	mmap_read_unlock(mm);
	mutex_unlock(&region->lock);

	info->links = atomic64_read(&region->links);
	info->flushes = atomic64_read(&region->flushes);
	info->batched = atomic64_read(&region->batched);
	info->attachments = READ_ONCE(region->nr_attachments);
	return 0;
}

/*
 * All entries are of one generation. They are copied out when no lock is held:
 * the caller's buffer may be in an attachment, or on a file system or a
 * userfaultfd that lets the copy wait for ever.
 */
static int mshare_list(struct mshare_region *region,
		       struct mshare_list_mappings *args)
{
	struct mm_struct *mm = mshare_region_mm(region);
	struct mshare_mapping_entry *entries = NULL;
	unsigned int room;
	int err = 0;

	if (args->flags)
		return -EINVAL;
	room = args->count;
	args->count = 0;
	args->generation = 0;
	if (!mm)
		return 0;

	if (mutex_lock_killable(&region->lock))
		return -EINTR;
	args->generation = region->generation;
	/* There are at most as many runs as VMAs, whatever the caller has room for. */
	room = min_t(unsigned int, room, READ_ONCE(mm->map_count));
	if (room && args->start < region->window) {
		entries = kvmalloc_array(room, sizeof(*entries),
					 GFP_KERNEL_ACCOUNT);
		if (entries) {
			mmap_read_lock(mm);
			args->count = list_runs(region, args->start, entries,
						room);
			mmap_read_unlock(mm);
		} else {
			err = -ENOMEM;
		}
	}
	mutex_unlock(&region->lock);

	if (copy_to_user(u64_to_user_ptr(args->entries), entries,
			 args->count * sizeof(*entries)))
		err = -EFAULT;
	kvfree(entries);
	return err;
}

/* ---- ioctl -------------------------------------------------------------- */

/*
 * The first command's struct ends in padding on 64-bit, which old callers leave
 * as it is, and has none on i386, whose number for it is another for that.
 */
#define CREATE_SIZE		offsetofend(struct mshare_create, fd)
#define CREATE_MAPPING_I386	_IOC(_IOC_WRITE, 'x', 0, CREATE_SIZE)

static_assert(sizeof(struct mshare_create) == 40 && CREATE_SIZE == 36);
static_assert(sizeof(struct mshare_unmap) == 16);
static_assert(sizeof(struct mshare_protect) == 24);
static_assert(sizeof(struct mshare_advise) == 24);
static_assert(sizeof(struct mshare_reserve) == 24);
static_assert(sizeof(struct mshare_base) == 16);
static_assert(sizeof(struct mshare_region_info) == 128);
static_assert(sizeof(struct mshare_mapping_entry) == 24);
static_assert(sizeof(struct mshare_list_mappings) == 32);
static_assert(sizeof(struct mshare_map_mapped) == 32);

/* What the command wants of the descriptor comes before what is in its struct. */
static int changes_contents(unsigned int cmd)
{
	switch (cmd) {
	case MSHAREFS_GET_BASE:
	case MSHAREFS_GET_INFO:
	case MSHAREFS_LIST_MAPPINGS:
		return 0;
	case MSHAREFS_CREATE_MAPPING:
	case CREATE_MAPPING_I386:
	case MSHAREFS_UNMAP:
	case MSHAREFS_PROTECT:
	case MSHAREFS_ADVISE:
	case MSHAREFS_RESERVE:
	case MSHAREFS_SET_BASE:
	case MSHAREFS_MAP_MAPPED:
		return 1;
	default:
		return -ENOTTY;
	}
}

long mshare_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct inode *inode = file_inode(file);
	struct mshare_region *region = mshare_inode_region(inode);
	void __user *user = (void __user *)arg;
	union {
		struct mshare_create create;
		struct mshare_unmap unmap;
		struct mshare_protect protect;
		struct mshare_advise advise;
		struct mshare_reserve reserve;
		struct mshare_base base;
		struct mshare_region_info info;
		struct mshare_list_mappings list;
		struct mshare_map_mapped mapped;
	} args = {};
	size_t size = _IOC_SIZE(cmd);
	int err = changes_contents(cmd);

	if (err < 0)
		return err;
	if (err && (file->f_mode & (FMODE_READ | FMODE_WRITE)) !=
		   (FMODE_READ | FMODE_WRITE))
		return -EACCES;
	/* region->mm, once it is there, is there to stay. */
	if (err && cmd != MSHAREFS_RESERVE && !mshare_region_mm(region))
		return -ENODATA;

	if (cmd == MSHAREFS_CREATE_MAPPING)
		size = CREATE_SIZE;
	if (_IOC_DIR(cmd) & _IOC_WRITE && copy_from_user(&args, user, size))
		return -EFAULT;

	switch (cmd) {
	case MSHAREFS_CREATE_MAPPING:
	case CREATE_MAPPING_I386:
		return mshare_map(file, region, &args.create);
	case MSHAREFS_MAP_MAPPED:
		return mshare_map_mapped(file, region, &args.mapped);
	case MSHAREFS_UNMAP:
		return mshare_unmap(region, &args.unmap);
	case MSHAREFS_PROTECT:
		return mshare_protect(file, region, &args.protect);
	case MSHAREFS_ADVISE:
		return mshare_advise(region, &args.advise);
	case MSHAREFS_RESERVE:
		if (args.reserve.flags || args.reserve.reserved)
			return -EINVAL;
		return mshare_region_reserve(inode, args.reserve.size,
					     args.reserve.base);
	case MSHAREFS_SET_BASE:
		return mshare_set_base(region, &args.base);
	case MSHAREFS_GET_BASE:
		args.base.base = READ_ONCE(region->base);
		break;
	case MSHAREFS_GET_INFO:
		err = mshare_info(region, &args.info);
		if (err)
			return err;
		break;
	case MSHAREFS_LIST_MAPPINGS:
		err = mshare_list(region, &args.list);
		if (err)
			return err;
		break;
	}
	return copy_to_user(user, &args, size) ? -EFAULT : 0;
}
