import { describeWholeFiles } from './whole-files.ts';

describeWholeFiles();
