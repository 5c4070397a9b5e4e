import assert from 'node:assert/strict';
import { it } from 'node:test';
import { bitmap, bitmapOf, cpuNumbers, hexOf } from './cpus.ts';

it('CPUs are read from a list, and written as the kernel takes them: in groups of eight digits', () => {
  assert.deepEqual(cpuNumbers('0-3,8'), [0, 1, 2, 3, 8]);
  assert.equal(hexOf(bitmapOf(cpuNumbers('0-3,8'))), '10f');
  assert.equal(hexOf(bitmapOf([32])), '1,00000000');
  assert.equal(hexOf(bitmapOf(cpuNumbers('0-63'))), 'ffffffff,ffffffff');
  assert.equal(hexOf(0n), '0');
  assert.throws(() => cpuNumbers('3-1'), /not a list of CPUs/);
});

it('the forms in which the kernel shows CPUs are one', () => {
  assert.equal(hexOf(bitmap('00000000,0000003f')), '3f');
  assert.equal(hexOf(bitmap('3f')), '3f');
  assert.throws(() => bitmap('x'), /not a set of CPUs/);
});
